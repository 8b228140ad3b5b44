"""Controls: one declaration of each gives its option, its API keyword, its checks and its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from colorcli.colorize.options import choose_parameters, fingerprint
from colorcli.errors import UsageError
from colorcli.images.tiles import Windows
from colorcli.networks.size import SizeRule
from colorcli.pipeline import controls
from colorcli.pipeline.controls import Control, ControlContext, Setting, Settings
from colorcli.sessions.session import ModelInfo

INFO = ModelInfo("stub@x", "stub", "0" * 64, ("z", "class_index"), SizeRule(32, 16))
LAYOUT = Windows((np.full((32, 48), 50, np.float32),) * 2, (0, 24), 72, 1)


def test_a_random_code_depends_on_seed_path_and_sample_and_on_nothing_else() -> None:
    """Otherwise a resumed, sharded or renumbered run would give photographs other colours."""
    code = controls.random_code(7, "1912/a.tif", 2, 0.8)
    assert code.shape == (68,) and code.dtype == np.float32
    assert np.array_equal(code, controls.random_code(7, "1912/a.tif", 2, 0.8))
    assert np.allclose(controls.random_code(7, "1912/a.tif", 2, 1.6), 2 * code)
    others = [(8, "1912/a.tif", 2), (7, "1912/b.tif", 2), (7, "1912/a.tif", 3)]
    assert all(np.abs(controls.random_code(*other, 0.8) - code).max() > 0.1 for other in others)
    assert code[:3].tolist() == pytest.approx(KNOWN, abs=1e-6), "journals of earlier versions refer to these colours"


KNOWN = [0.29508450627326965, -1.0837693214416504, 0.5265488028526306]


def test_what_is_not_asked_for_has_its_default_and_what_a_model_lacks_is_refused() -> None:
    """An option that is silently ignored looks like an option without effect."""
    assert controls.choose(INFO, {"seed": 4}) == {"sigma": 0.8, "seed": 4, "class_index": -1}
    assert controls.choose(INFO, {"sigma": 2, "class_name": "tabby"})["class_index"] == 281
    plain = ModelInfo("plain@x", "plain", "0" * 64, ("z",))
    assert controls.choose(plain, {}) == {"sigma": 0.8, "seed": 0}
    with pytest.raises(UsageError, match="plain@x takes no class, so --class has no effect on it; it takes"):
        controls.choose(plain, {"class_name": "tabby"})
    with pytest.raises(UsageError, match=r"sigma must be a number from 0 to 100, not -1"):
        controls.choose(INFO, {"sigma": -1})
    with pytest.raises(UsageError, match=r"seed must be a whole number, not 0\.5"):
        controls.choose(INFO, {"seed": 0.5})
    with pytest.raises(UsageError, match=r"no control 'hue'; there are: sigma, seed, class_name, reference, hints"):
        controls.choose(INFO, {"hue": 1})


def test_samples_that_would_all_be_the_same_are_refused() -> None:
    """Otherwise users would look for differences between four identical files."""
    with pytest.raises(UsageError, match="With --sigma 0 all samples are the same"):
        choose_parameters(INFO, samples=2, sigma=0)
    assert choose_parameters(INFO, samples=1, sigma=0).settings["sigma"] == 0


def test_every_window_is_given_the_controls_of_its_photograph() -> None:
    """Otherwise the windows of a panorama would have different codes, and so different colours."""
    settings = controls.choose(INFO, {"class_name": "207"})
    first, second = controls.draw(INFO.controls, settings, "a.jpg", 1, LAYOUT)
    assert np.array_equal(first["z"], second["z"]) and first["class_index"] == second["class_index"] == 207
    batch = controls.batched([first, second])
    assert batch["z"].shape == (2, 68) and batch["class_index"].tolist() == [207, 207]


def test_several_classes_change_fastest() -> None:
    """With two classes, sample 3 is the second code with the second class, in the journal and in the output."""
    settings = controls.choose(INFO, {"class_name": "tabby, 207"})
    assert controls.variants(settings) == 2
    found = [controls.variant(settings, output) for output in range(4)]
    assert [(one["class_index"], sample) for one, sample in found] == [(281, 0), (207, 0), (281, 1), (207, 1)]


def _filled(settings: Settings, context: ControlContext) -> NDArray[Any]:
    assert context.layout is not None
    return np.full((3, *context.layout.shape), settings["warmth"] + context.window, np.float32)


WARMTH = Setting("warmth", "--warmth", float, 0.0, "How warm.", unset=0.0, low=0, high=9, title="Warmth")
WARM = Control("warm", "warmth", (3, "height", "width"), "float32", 0, (WARMTH,), _filled)


def test_a_new_control_is_one_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise adding a system with a new control would mean changing twenty files."""
    before = choose_parameters(INFO)
    monkeypatch.setitem(controls._DECLARED, "warm", WARM)
    info = ModelInfo("hinted@x", "hinted", "0" * 64, ("z", "warm"), SizeRule(32, 16))
    parameters = choose_parameters(info, warmth=2)
    assert parameters.record()["warmth"] == 2.0
    first, second = controls.draw(info.controls, parameters.settings, "a.jpg", 0, LAYOUT)
    assert (first["warm"].shape, first["warm"].mean(), second["warm"].mean()) == ((3, 32, 48), 2, 3)
    lightness = np.zeros((2, 1, 32, 48), np.float32)
    assert controls.complete(info.controls, {}, lightness)["warm"].shape == (2, 3, 32, 48)
    assert controls.options(info.controls) == "--sigma, --seed, --warmth"
    with pytest.raises(UsageError, match="takes no warmth, so --warmth has no effect"):
        choose_parameters(INFO, warmth=2)
    assert choose_parameters(INFO) == before


def test_an_archive_stays_done_without_a_vividness_and_not_with_one() -> None:
    """The option was added later: outputs and records of runs that do not use it must not change."""
    plain, vivid = choose_parameters(INFO).record(), choose_parameters(INFO, vividness=0.6).record()
    assert "vividness" not in plain
    assert fingerprint("ab", plain) != fingerprint("ab", vivid)


def test_an_archive_stays_done_when_controls_are_declared_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, after an update, every finished photograph would count as made with other parameters."""
    rest: dict[str, object] = {"size": 256, "strength": 1.0, "format": None, "quality": 95}
    earlier: dict[str, object] = {"sigma": None, "seed": None, "class_index": -1, **rest}
    assert fingerprint("ab", earlier) == fingerprint("ab", rest)
    monkeypatch.setitem(controls._DECLARED, "warm", WARM)
    assert fingerprint("ab", earlier) == fingerprint("ab", {"warmth": 0.0, **rest})
    assert fingerprint("ab", {"warmth": 1.0, **rest}) != fingerprint("ab", rest)
    assert fingerprint("ab", {"seed": 0, **rest}) != fingerprint("ab", {"seed": 1, **rest})
