"""Training bigcolor lite: several colourings of a photograph at once, and a classifier that learns what it sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from colorcli.color import tensors as colors
from colorcli.networks.bigcolor import BigColor
from colorcli.train import losses
from colorcli.train.data import Batch
from colorcli.train.objectives.standard import Standard
from colorcli.train.recipe import Phase


class BigColorLite(Standard):
    """The standard objective for the network that is its own classifier.

    The classes of the photographs are the teacher's answers on the colour photograph (pseudo-labels); the network's
    classifier, which sees gray alone, learns them by distillation (term ``distill``).
    """

    terms = (*Standard.terms, "distill")
    network: BigColor

    def _classes(self, batch: Batch, rgb: Tensor) -> Tensor:
        with torch.no_grad(), self.setup.autocast():
            self._teacher_logits = self.setup.teacher.logits(self.setup.teacher(rgb)).float()
        return self._teacher_logits.argmax(1)

    def _answer(
        self, phase: Phase, gray: Tensor, codes: list[Tensor], classes: Tensor | None
    ) -> tuple[list[Tensor], Any]:
        assert classes is not None
        gray = colors.lightness_to_gray(colors.gray_to_lightness(gray))
        features = self.network.classifier(gray)
        logits = self.network.classifier.logits(features)
        # At inference the class is the network's own answer; the teacher's is the better one to learn from.
        own = self.setup.draw(torch.rand, len(gray)) < 0.5
        code = self.network.G.shared(torch.where(own, logits.argmax(1), classes))
        count = len(codes)
        # The features are the same for all colourings of a photograph, and cost the most.
        repeated = type(features)(*(feature.repeat(count, 1, 1, 1) for feature in features))
        answer = self.network.generate(repeated, code.repeat(count, 1), torch.cat(codes))
        return list(answer.chunk(count)), logits

    def _terms(self, phase: Phase, answers: list[Tensor], extra: Any, *rest: Any) -> dict[str, Tensor]:
        values = super()._terms(phase, answers, extra, *rest)
        if phase.weights.get("distill"):
            values["distill"] = losses.distillation(extra.float(), self._teacher_logits)
        return values
