"""How sure a colouring is: scores that mean what they say, whatever the ground."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from colorcli.errors import ModelError, PhotoError, UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.pipeline.coloring import infer_whole, prepare
from colorcli.pipeline.controls import choose, draw
from colorcli.pipeline.uncertainty import Asked, Seen, Uncertainty, ask
from colorcli.registry import registry
from colorcli.sessions.pytorch import PyTorchSession

from ..fakes import CARD, INFO, FakeSession, FlatSession
from .test_coloring import in_rgb

PHOTO = np.random.default_rng(0).integers(40, 200, (90, 120), np.uint8)


def judged(session: Any, asked: Asked, *others: Any, pixels: Any = PHOTO) -> Uncertainty:
    """The uncertainty of a session's colouring."""
    layout = prepare(pixels, session.info.size_rule)
    settings = choose(session.info, {})
    (answer,) = infer_whole(session, [layout], [draw(session.info.controls, settings, "a.png", 0, layout)])
    assert not isinstance(answer, PhotoError)
    turn = iter(others)
    ground = asked.open(session, lambda card, backend: next(turn))
    return ground.of(Seen(pixels, layout, answer, settings, "a.png", 0))


def test_models_that_agree_leave_no_doubt_and_a_distance_is_in_lab_units() -> None:
    own = FlatSession(a=10, b=20)
    one, two = Asked("models", (CARD,)), Asked("models", (CARD, CARD))
    assert judged(own, one, FlatSession(a=10, b=20)).score == 0
    apart = judged(own, one, FlatSession(a=16, b=20))
    assert apart.score == pytest.approx(3), "half of six: from the mean"
    assert apart.codes.shape == (90, 120) and (apart.codes == 30).all(), "ten codes a unit"
    assert judged(own, two, FlatSession(a=10, b=20), FlatSession(a=16, b=20)).score == pytest.approx(8**0.5)
    far = judged(own, one, FlatSession(a=-90, b=20))
    assert far.codes.max() == 255 and far.score == pytest.approx(50), "the map is cut off, the score is not"


def test_a_map_is_small_and_has_the_photographs_shape() -> None:
    """Of a scan of 100 megapixels, as many bytes again beside each output."""
    long = np.tile(PHOTO, (10, 60))
    found = judged(FlatSession(), Asked("models", (CARD,)), FlatSession(a=12), pixels=long)
    assert found.codes.shape == (64, 512)


def test_a_network_that_answers_with_a_picture_is_judged_by_its_chroma() -> None:
    rule = replace(INFO.size_rule, enlarge="bilinear-rgb")
    own = FakeSession(in_rgb, replace(INFO, size_rule=rule))
    same = FakeSession(lambda lightness, chroma: chroma / 2)
    assert judged(own, Asked("models", (CARD,)), same).score < 0.1


def test_samples_differ_where_the_code_matters() -> None:
    """Chosen sample or not, the spread is that of codes that nobody has seen."""
    found = judged(FakeSession(), Asked("samples"))
    assert found.score > 5
    assert found.score == judged(FakeSession(), Asked("samples")).score, "the same in every run"


def test_an_unusable_answer_of_another_model_names_it() -> None:
    broken = FlatSession("other@lite", fault=lambda lightness: np.full((1, 2, 4, 4), np.nan, np.float32))
    with pytest.raises(PhotoError, match="other@lite: the network's answer holds values that are not numbers"):
        judged(FlatSession(), Asked("models", (CARD,)), broken)


class Bins(Colorizer):
    """Sure of one of five colours in the darker half, of none in the other."""

    native_space = "bins"

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        one = torch.zeros(5)
        one[2] = 40
        return (lightness < 50) * one[None, :, None, None]

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return answer[:, :2] + 10


def test_entropy_is_a_share_of_what_is_possible() -> None:
    halves = np.full((64, 64), 30, np.uint8)
    halves[:, 32:] = 200
    session = PyTorchSession(Bins(), replace(INFO, controls=()), "cpu")
    found = judged(session, Asked("bins", (CARD,)), session, pixels=halves)
    assert found.codes[32, 5] == 0 and found.codes[32, 60] == 255
    assert found.score == pytest.approx(0.5, abs=0.03)


def test_a_ground_that_a_model_lacks_is_refused() -> None:
    """Zeros in the journal for photographs of which nothing was measured."""
    zhang, bigcolor = registry.find("zhang2016"), registry.find("bigcolor")
    with pytest.raises(UsageError, match="every sample the same colours; give --uncertainty models"):
        ask("samples", zhang)
    with pytest.raises(UsageError, match="does not predict bins"):
        ask("bins", bigcolor)
    with pytest.raises(UsageError, match="name at least one"):
        ask("bigcolor", bigcolor)
    with pytest.raises(UsageError, match="takes models, samples, bins or names of models, not 'modles'; did you mean"):
        ask("modles", bigcolor)
    with pytest.raises(ModelError, match="no model 'nobody'") as refused:
        ask("zhang2016,nobody", bigcolor)
    assert "samples, bins" in refused.value.__notes__[0]
    assert [card.name for card in ask("models", zhang).cards] == ["bigcolor", "efficientnet"], "all but itself"
    labels = [ask(text, bigcolor).label for text in ("models", "samples", "convnet, efficientnet")]
    assert labels[0].startswith("models: zhang2016@lite ") and len(set(labels)) == 3
    assert ask("bins", zhang).label.startswith("bins: zhang2016@lite ")
