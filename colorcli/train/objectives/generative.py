"""Training the class-conditional generator that ``biggan-encoder`` lite is built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.errors import UsageError
from colorcli.networks.biggan_deep import BigGANLite64, Discriminator, Posterior, sample_latents
from colorcli.train import losses
from colorcli.train.data import Batch
from colorcli.train.objectives.base import Grid, Objective, Setup, Update, optimizer, weighted
from colorcli.train.recipe import Phase
from colorcli.train.run import Run
from colorcli.train.validation import groups, to_uint8

_SHOWN = 8


class Generative(Objective):
    """A class-conditional generator of 64 px; the recipe's data need labels.

    A phase with the term ``adversarial`` is BigGAN's training (Brock et al., ICLR 2019), which needs millions of
    photographs and large batches. A phase with the terms ``native`` and ``prior`` makes the generator the decoder of a
    variational autoencoder (Kingma and Welling 2014), which learns from few; both together are VAE/GAN (Larsen et al.,
    ICML 2016). The latents' distribution is the standard normal one in all.
    """

    terms = ("native", "prior", "adversarial")
    judged: ClassVar[Mapping[str, float]] = {"recognized": 0.0, "-mse_rgb": 0.001}
    network: BigGANLite64

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.recipe.data.labels == "none":
            raise UsageError(f"Recipe '{self.recipe.name}' needs classes: set data.labels to pseudo or folders.")
        torch.manual_seed(self.recipe.seed + 1)
        if any("adversarial" in phase.weights for phase in self.recipe.phases):
            discriminator = Discriminator(**self.recipe.discriminator)
            discriminator.describe_classes(setup.teacher.classifier.weight.detach().cpu())
            self.parts["discriminator"] = setup.place(discriminator)
        if any("native" in phase.weights for phase in self.recipe.phases):
            self.parts["posterior"] = setup.place(Posterior(self.network.latent))

    def build(self) -> nn.Module:
        torch.manual_seed(self.recipe.seed)
        network = BigGANLite64(**self.recipe.network)
        network.describe_classes(self.setup.teacher.classifier.weight.detach().cpu())
        return network

    def optimizers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        learning = [p for p in self.network.parameters() if p.requires_grad]
        if "native" in phase.weights:
            learning += self.parts["posterior"].parameters()
        made = {"generator": optimizer(phase, [(learning, phase.lr)], phase.weight_decay)}
        if "adversarial" in phase.weights:
            judging = list(self.parts["discriminator"].parameters())
            made["discriminator"] = optimizer(phase, [(judging, phase.d_lr)], phase.d_weight_decay)
        return made

    def step(self, phase: Phase, index: int, batch: Batch, update: Update) -> dict[str, Tensor]:
        classes = torch.from_numpy(batch.labels).to(self.setup.device)
        real = self._real(batch)
        self.setup.learn(self.network)
        terms: dict[str, Tensor] = {}
        chosen: dict[str, Tensor] = {}
        fake = None
        if "adversarial" in phase.weights:
            latents = self.setup.draw(lambda n: sample_latents(n, self.network.latent), len(batch))
            with self.setup.autocast():
                fake = self.network(latents, classes)
            terms |= self.discriminate(phase, real, fake.detach().float(), classes, update)
        if fake is None or index % phase.d_every == 0:
            if fake is not None:
                chosen["adversarial"] = self.deceive(phase, fake, classes)
            if "native" in phase.weights:
                chosen |= self._autoencode(phase, real, classes)
            loss = weighted(phase, chosen)
            terms |= chosen | {"loss": loss, "gradient": update("generator", loss)}
        return {name: value.detach() for name, value in terms.items()}

    def _real(self, batch: Batch) -> Tensor:
        """The photographs as the generator makes them: ``(N, 3, 64, 64)`` in -1..1."""
        rgb = torch.from_numpy(batch.rgb).to(self.setup.device, memory_format=torch.channels_last)
        return F.interpolate(rgb, size=(self.network.side,) * 2, mode="area") * 2 - 1

    def _autoencode(self, phase: Phase, real: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """The two terms of the evidence lower bound, each divided by the number of values in a picture."""
        posterior = self.parts["posterior"]
        self.setup.learn(posterior)
        with self.setup.autocast():
            mean, log_variance = posterior(real)
            noise = self.setup.draw(lambda n: torch.randn(n, self.network.latent), len(real))
            picture = self.network(mean + (log_variance / 2).exp() * noise, classes).float()
        kind = "mse" if phase.loss == "auto" else phase.loss
        return {
            "native": losses.distance(kind, picture, real).mean(),
            "prior": losses.prior_divergence(mean, log_variance) / real[0].numel(),
        }

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
        rows = [grid[start : start + _SHOWN] for start in range(0, len(grid), _SHOWN)]
        measured = {
            # How often the teacher has the class that was asked for among its first five: chance is 0.5 %.
            "val_recognized": float((likely == classes[:, None]).any(1).float().mean()),
            "val_spread": float(np.std([picture.mean((0, 1)) for picture in grid], axis=0).mean()),
        }
        if "posterior" in self.parts:
            errors, shown = self._reconstruct(generator)
            measured["val_mse_rgb"], rows = errors, shown + rows
        return measured, rows

    def _reconstruct(self, generator: BigGANLite64) -> tuple[float, Grid]:
        """How near the generator can come to the held-back photographs: MSE of RGB in 0..1; and a row of each."""
        posterior = self.parts["posterior"].eval()
        errors: list[Tensor] = []
        shown: Grid = []
        for batch in groups(self.setup):
            real = self._real(batch)
            colors = (real + 1) / 2
            classes = self.setup.teacher.logits(self.setup.teacher(F.interpolate(colors, scale_factor=2.0))).argmax(1)
            picture = (generator(posterior(real)[0], classes) + 1) / 2
            errors.append(losses.distance("mse", picture, colors))
            shown = shown or [to_uint8(colors)[:_SHOWN], to_uint8(picture)[:_SHOWN]]
        return float(torch.cat(errors).mean()), shown

    def write(self, run: Run, network: nn.Module, facts: Mapping[str, Any]) -> None:
        run.write_backbone(network, self.recipe, dict(facts))
