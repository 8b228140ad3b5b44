"""Training the class-conditional generator that ``biggan-encoder`` lite looks for its answers in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.errors import UsageError
from colorcli.networks.biggan_deep import BigGANLite64, Discriminator, sample_latents
from colorcli.train import losses
from colorcli.train.data import Batch
from colorcli.train.objectives.base import Grid, Objective, Setup, Update, optimizer
from colorcli.train.recipe import Phase
from colorcli.train.run import Run
from colorcli.train.validation import to_uint8

_SHOWN = 8


class Generative(Objective):
    """BigGAN's training (Brock et al., ICLR 2019) at 64 px; the recipe's data need labels."""

    network: BigGANLite64

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.recipe.data.labels == "none":
            raise UsageError(f"Recipe '{self.recipe.name}' needs classes: set data.labels to pseudo or folders.")
        torch.manual_seed(self.recipe.seed + 1)
        critic = Discriminator(**self.recipe.discriminator)
        critic.describe_classes(setup.teacher.classifier.weight.detach().cpu())
        self.parts["discriminator"] = setup.place(critic)

    def build(self) -> nn.Module:
        torch.manual_seed(self.recipe.seed)
        network = BigGANLite64(**self.recipe.network)
        network.describe_classes(self.setup.teacher.classifier.weight.detach().cpu())
        return network

    def optimizers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        learning = [p for p in self.network.parameters() if p.requires_grad]
        return {
            "generator": optimizer(phase, [(learning, phase.lr)], phase.weight_decay),
            "discriminator": optimizer(
                phase, [(list(self.parts["discriminator"].parameters()), phase.d_lr)], phase.d_weight_decay
            ),
        }

    def step(self, phase: Phase, index: int, batch: Batch, update: Update) -> dict[str, Tensor]:
        rgb = torch.from_numpy(batch.rgb).to(self.setup.device, memory_format=torch.channels_last)
        classes = torch.from_numpy(batch.labels).to(self.setup.device)
        real = F.interpolate(rgb, size=(self.network.side,) * 2, mode="area") * 2 - 1
        critic = self.parts["discriminator"]
        self.setup.learn(self.network)
        self.setup.learn(critic)
        latents = self.setup.draw(lambda n: sample_latents(n, self.network.latent), len(batch))
        with self.setup.autocast():
            fake = self.network(latents, classes)
            scores = critic(torch.cat((real, fake.detach().float())), classes.repeat(2)).float()
        real_score, fake_score = scores.chunk(2)
        d_loss = losses.discriminator_gan(phase.gan, real_score, fake_score)
        update("discriminator", d_loss)
        terms = {"d_loss": d_loss, "d_real": real_score.mean(), "d_fake": fake_score.mean()}
        if index % phase.d_every == 0:
            critic.requires_grad_(False)
            with self.setup.autocast():
                score = critic(fake, classes).float()
            critic.requires_grad_(True)
            g_loss = losses.generator_gan(phase.gan, score)
            terms |= {"loss": g_loss, "gradient": update("generator", g_loss)}
        return {name: value.detach() for name, value in terms.items()}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> tuple[dict[str, float], Grid]:
        generator = cast(BigGANLite64, network)
        rng = torch.Generator().manual_seed(self.recipe.seed)
        classes = torch.arange(0, 1000, 1000 // (_SHOWN * _SHOWN))[: _SHOWN * _SHOWN].to(self.setup.device)
        latents = sample_latents(len(classes), generator.latent, generator=rng).to(self.setup.device)
        pictures = (generator(latents, classes) + 1) / 2
        answers = self.setup.teacher.logits(self.setup.teacher(F.interpolate(pictures, scale_factor=2.0)))
        likely = answers.topk(5).indices
        grid = to_uint8(pictures)
        return {
            # How often the teacher has the class that was asked for among its first five: chance is 0.5 %.
            "val_recognized": float((likely == classes[:, None]).any(1).float().mean()),
            "val_spread": float(np.std([picture.mean((0, 1)) for picture in grid], axis=0).mean()),
        }, [grid[start : start + _SHOWN] for start in range(0, len(grid), _SHOWN)]

    def write(self, run: Run, network: nn.Module, facts: Mapping[str, Any]) -> None:
        run.write_backbone(network, self.recipe, dict(facts))
