"""Training a backbone for gray photographs: a student of the colour teacher that sees only lightness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from colorcli.networks.backbones import EfficientNetLite0, Features
from colorcli.train import losses
from colorcli.train.data import Batch
from colorcli.train.objectives.base import Grid, Objective, Update, optimizer
from colorcli.train.recipe import Phase
from colorcli.train.run import Run
from colorcli.train.validation import groups


class Distillation(Objective):
    """The student learns the teacher's answer (``distill``) and features (``perceptual``) on the colour photograph."""

    terms = ("distill", "perceptual")
    judged: ClassVar[Mapping[str, float]] = {"agreement": 0.01}
    network: EfficientNetLite0

    def build(self) -> nn.Module:
        student = EfficientNetLite0(in_channels=1)
        student.load_reference(self.setup.teacher.state_dict())
        return student

    def optimizers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        return {"generator": optimizer(phase, [(list(self.network.parameters()), phase.lr)], phase.weight_decay)}

    def step(self, phase: Phase, index: int, batch: Batch, update: Update) -> dict[str, Tensor]:
        rgb = torch.from_numpy(batch.rgb).to(self.setup.device, memory_format=torch.channels_last)
        gray = torch.from_numpy(batch.gray).to(self.setup.device)
        with self.setup.autocast():
            with torch.no_grad():
                truth = self.setup.teacher(rgb)
                answer = self.setup.teacher.logits(truth).float()
            self.setup.learn(self.network)
            features = self.network(gray)
            logits = self.network.logits(features).float()
        values = {
            "distill": losses.distillation(logits, answer),
            "perceptual": losses.feature_distance(_floats(features), _floats(truth)),
        }
        loss = torch.stack([phase.weights.get(name, 0.0) * value for name, value in values.items()]).sum()
        gradient = update("generator", loss)
        agreement = (logits.argmax(1) == answer.argmax(1)).float().mean()
        return {**{k: v.detach() for k, v in values.items()}, "agreement": agreement, "gradient": gradient}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> tuple[dict[str, float], Grid]:
        student = cast(EfficientNetLite0, network)
        agree, count = 0, 0
        for batch in groups(self.setup):
            rgb, gray = (torch.from_numpy(array).to(self.setup.device) for array in (batch.rgb, batch.gray))
            truth = self.setup.teacher.logits(self.setup.teacher(rgb)).argmax(1)
            agree += int((student.logits(student(gray)).argmax(1) == truth).sum())
            count += len(batch)
        return {"val_agreement": agree / max(1, count)}, []

    def write(self, run: Run, network: nn.Module, facts: Mapping[str, Any]) -> None:
        run.write_backbone(network, self.recipe, dict(facts))


def _floats(features: Features) -> tuple[Tensor, ...]:
    # The coarser maps: the fine ones of a colour network hold colours that gray does not reveal.
    return tuple(feature.float() for feature in features[2:])
