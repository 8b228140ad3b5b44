"""Model cards: what training writes is what is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colorcli.errors import ModelError
from colorcli.networks.size import SizeRule
from colorcli.registry.card import CARD, ModelCard, Shared, read_card, write_card

CARD_EXAMPLE = ModelCard(
    name="bigcolor",
    tag="lite",
    system="bigcolor",
    preset="lite",
    version="2",
    licence='CC BY 4.0, "see SOURCES"',
    network={"preset": "lite", "widths": [256, 176]},
    size=SizeRule(size=192, multiple_of=32, fixed=True, max_aspect=3.5),
    controls=("z", "class_index"),
    source={"paper": "Kim et al.\n2022 — ü", "url": "https://example.org/a?b=c"},
    training={"steps": 4200, "metrics": {"psnr": 22.5}, "command": ["colorcli", "train"]},
    backbones={"classifier": Shared("efficientnet-lite0-gray", "fedcba9876543210" * 4)},
    weights_sha256="0123456789abcdef" * 4,
    weights_dtype="float16",
)


_TEXT = st.text(st.characters(codec="utf-8"))
_VALUES = st.recursive(
    _TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_whatever_training_records_is_read_again(tmp_path: Path, training: dict[str, Any]) -> None:
    """A licence with a quote, or a path with a backslash, would make a finished training run unreadable."""
    write_card(dataclasses.replace(CARD_EXAMPLE, training=training), tmp_path)
    assert read_card(tmp_path).training == training


def test_values_that_toml_cannot_hold_are_refused(tmp_path: Path) -> None:
    """Writing None as "None" would turn a missing number into text."""
    with pytest.raises(TypeError):
        write_card(dataclasses.replace(CARD_EXAMPLE, training={"a": None}), tmp_path)


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """A lost field would change how the network is built, or which licence is shown."""
    write_card(CARD_EXAMPLE, tmp_path)
    assert read_card(tmp_path) == dataclasses.replace(CARD_EXAMPLE, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CARD]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("name =", "nam ="), "name"),
        (('name = "bigcolor"', "name = 3"), "name"),
        (('name = "bigcolor"', 'name = "../x"'), "../x"),
        (("size = 192", 'size = "192"'), "size.size"),
        (("size = 192", "size = 0"), "1"),
        (("multiple_of", "multiple"), "multiple"),
        (("0123456789abcdef", "0123456789abcdeX"), "SHA-256"),
        (("controls = [", "controls = [3, "), "controls"),
        (("[size]", "[size"), "cannot be read"),
    ],
)
def test_a_faulty_card_is_refused_and_says_where(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    """A typo in a hand-edited card must be found, not ignored: it would colour with other settings."""
    path = write_card(CARD_EXAMPLE, tmp_path)
    before = path.read_text(encoding="utf-8")
    assert change[0] in before
    path.write_text(before.replace(*change), encoding="utf-8")
    with pytest.raises(ModelError, match=CARD) as caught:
        read_card(tmp_path)
    assert named in str(caught.value)


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model\.toml"):
        read_card(tmp_path)


def test_a_released_programs_resize_travels_with_the_card(tmp_path: Path) -> None:
    """Without it, released weights get other inputs than in their authors' program."""
    rule = SizeRule(size=512, multiple_of=32, stretch=True, resize="bilinear", enlarge="nearest")
    write_card(ModelCard(name="x", system="x", weights_sha256="0" * 64, size=rule), tmp_path)
    assert read_card(tmp_path).size == rule
    assert rule.working_shape(600, 900) == (512, 512)
    assert rule.working_shape(600, 900, 250) == (256, 256)
    text = (tmp_path / CARD).read_text()
    for wrong in ('"bicubic"', "true", "3"):
        (tmp_path / CARD).write_text(text.replace('"bilinear"', wrong))
        with pytest.raises(ModelError, match="resize"):
            read_card(tmp_path)
