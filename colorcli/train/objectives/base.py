"""What an objective is: everything specific to one way of training, which the loop does not know."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from colorcli.errors import UsageError
from colorcli.networks.backbones import EfficientNetLite0
from colorcli.pipeline.controls import CLASS_INDEX
from colorcli.registry.teacher import load_teacher
from colorcli.sessions.pytorch import computes_bf16
from colorcli.text import Notify
from colorcli.train import losses, plugins
from colorcli.train.data import Batch, Entry, PhotoSet
from colorcli.train.recipe import Phase, Recipe
from colorcli.train.run import Run

Update = Callable[[str, Tensor], Tensor]
Grid = list[list[NDArray[np.uint8]]]

# The name of the stored means in networks with a batch norm of their own.
_STATISTICS = ("stored_mean", "running_means")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Setup:
    """What every objective works with.

    Attributes:
        recipe: what to do.
        photos: the colour photographs.
        device: where the networks are.
        share: (index, count) of this process among those that train together.
        teacher_file: weights of the teacher; None means those of the extra ``colorcli[train]``.
        start: a network to start from (fine-tuning) instead of a new one.
        say: called with a few words on long work before the first step.
    """

    recipe: Recipe
    photos: PhotoSet
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    share: tuple[int, int] = (0, 1)
    teacher_file: Path | None = None
    start: nn.Module | None = None
    say: Notify = lambda _: None

    def __post_init__(self) -> None:
        self.recipe = _at_a_precision(self.recipe, self.device, self.say)

    @cached_property
    def teacher(self) -> EfficientNetLite0:
        """A colour EfficientNet-Lite0, frozen: it names what photographs show, and gives perceptual features."""
        teacher: EfficientNetLite0 = self.place(load_teacher(self.teacher_file))
        return teacher.requires_grad_(False).eval()

    @cached_property
    def held_back(self) -> list[Entry]:
        """The photographs for validation, with the classes that the recipe's data have."""
        entries = self.photos.validation
        if self.recipe.data.labels != "pseudo":
            return entries
        from colorcli.train.labels import pseudo_labelled

        return pseudo_labelled(self, entries)

    def place(self, module: Any) -> Any:
        """Move a network to the device, in the memory layout that is fastest for convolutions."""
        return module.to(self.device, memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """The recipe's precision."""
        dtype = _DTYPES.get(self.recipe.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def learn(self, network: nn.Module, mode: bool = True, statistics: bool = True) -> None:
        """Put a network into training mode (or out of it), its batch norm only where the recipe does not freeze it.

        Without ``statistics`` all of it is frozen.
        """
        network.train(mode)
        frozen = [network] if self.recipe.freeze_batch_norm == "all" or not statistics else []
        if self.recipe.freeze_batch_norm == "slow":
            frozen = [network.get_submodule(part) for part in getattr(network, "slow_parts", ())]
        for part in frozen:
            for module in part.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm) or any(hasattr(module, s) for s in _STATISTICS):
                    module.eval()

    def draw(self, make: Callable[[int], Tensor], count: int) -> Tensor:
        """Random numbers for this process's ``count`` photographs.

        They are a slice of those for all processes, so they do not depend on the number of processes.
        """
        index, of = self.share
        return make(count * of)[index * count : (index + 1) * count].to(self.device)


def _at_a_precision(recipe: Recipe, device: torch.device, say: Notify) -> Recipe:
    """The recipe with ``auto`` replaced by the precision that the device is fast in."""
    fast = computes_bf16(device)
    if recipe.precision == "bf16" and not fast:
        say("this device only emulates bf16, which takes many times longer than --set precision=fp32")
    if recipe.precision != "auto":
        return recipe
    return dataclasses.replace(recipe, precision="bf16" if fast else "fp32")


class Objective(ABC):
    """One way of training: which networks learn, from which losses, and how the outcome is judged and kept.

    Attributes:
        terms: of the loss, which the weights of its phases may name.
        takes_added_terms: whether they may also name those that other packages add.
        judged: the measures that compare the trained network with the initial one, each with the least difference that
            counts; a minus sign means that lower is better.
        network: what is trained, and ships.
        parts: further networks that learn and are kept in checkpoints (a discriminator).
    """

    terms: ClassVar[tuple[str, ...]]
    takes_added_terms: ClassVar[bool] = False
    judged: ClassVar[Mapping[str, float]] = {"psnr": 0.5, "-ab_error": 0.5}

    @classmethod  # noqa: B027 - many have nothing to check
    def check(cls, recipe: Recipe) -> None:
        """Refuse a recipe for a new network that cannot be built, before its photographs are read."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.recipe = setup.recipe
        known = (*self.terms, *(plugins.points("losses") if self.takes_added_terms else ()))
        for phase in self.recipe.phases:
            for term, weight in phase.weights.items():
                if weight and phase.train != "discriminator" and term not in known:
                    raise UsageError(
                        f"Phase '{phase.name}' gives a weight to '{term}', which the objective "
                        f"'{self.recipe.objective}' does not have; it has {', '.join(known)}."
                    )
        self.network: nn.Module = setup.place(setup.start if setup.start is not None else self.build())
        self.parts: dict[str, nn.Module] = {}

    @abstractmethod
    def build(self) -> nn.Module:
        """A new network by the recipe, with pretrained weights where the recipe names them."""

    @abstractmethod
    def optimizers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        """The optimizers of a phase by name; every parameter group has its learning rate as ``peak`` too."""

    @abstractmethod
    def step(self, phase: Phase, index: int, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step: compute losses, pass each to ``update(optimizer, loss)``, and give the terms to be logged."""

    @abstractmethod
    def validate(self, network: nn.Module) -> tuple[dict[str, float], Grid]:
        """Measures of ``network`` on the held-back photographs, and a grid of pictures to look at."""

    @abstractmethod
    def write(self, run: Run, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write ``network`` into the run folder in the form in which the program uses it."""

    def worse(self, measured: Mapping[str, float], start: Mapping[str, float]) -> str:
        """The measures by which the network is worse than the initial one, if it is by all of them; else empty.

        One alone says little: vivid colours cost PSNR, and pale ones have a small distance.
        """
        said = []
        for judged, margin in self.judged.items():
            name, sign = f"val_{judged.removeprefix('-')}", -1 if judged.startswith("-") else 1
            if name not in measured or name not in start or sign * (measured[name] - start[name]) >= -margin:
                return ""
            label = name.removeprefix("val_").replace("_", " ")
            said.append(f"{label} {measured[name]:.4g}, {start[name]:.4g} at the start")
        return "; ".join(said)

    def figures(self, network: nn.Module) -> dict[str, Image.Image]:
        """Figures of the finished network, by name."""
        return {}

    # What objectives with a discriminator share.

    def discriminate(
        self, phase: Phase, real: Tensor, fake: Tensor, classes: Tensor, update: Update
    ) -> dict[str, Tensor]:
        """Teach the discriminator.

        Real and fake images pass through it in separate batches, as they do in the generator's step. In a mixed batch,
        batch norm's statistics would reveal the fakes, in a way that the generator could not learn from.
        """
        self.setup.learn(self.parts["discriminator"])
        with self.setup.autocast():
            real_score, fake_score = (self._score(image, classes).float() for image in (real, fake))
        loss = losses.discriminator_gan(phase.gan, real_score, fake_score)
        update("discriminator", loss)
        return {
            "d_loss": loss.detach(),
            "d_real": real_score.mean().detach(),
            "d_fake": fake_score.mean().detach(),
            "d_accuracy": losses.discriminator_accuracy(real_score, fake_score),
        }

    def deceive(self, phase: Phase, fake: Tensor, classes: Tensor) -> Tensor:
        """The generator's adversarial term; the discriminator does not learn from it."""
        discriminator = self.parts["discriminator"].requires_grad_(False)
        with self.setup.autocast():
            score = self._score(fake, classes).float()
        discriminator.requires_grad_(True)
        return losses.generator_gan(phase.gan, score)

    def _score(self, image: Tensor, classes: Tensor) -> Tensor:
        discriminator = self.parts["discriminator"]
        conditional = CLASS_INDEX.name in inspect.signature(discriminator.forward).parameters
        score: Tensor = discriminator(image, classes) if conditional else discriminator(image)
        return score

    def average(self) -> nn.Module:
        """A copy of the network for the running average of its weights; frozen parts are shared."""
        frozen = [self.network.get_submodule(part) for part in getattr(self.network, "frozen_parts", ())]
        # deepcopy does not copy what is in its memo.
        average = copy.deepcopy(self.network, {id(module): module for module in frozen})
        return average.requires_grad_(False).eval()


def optimizer(
    phase: Phase, groups: list[tuple[list[nn.Parameter], float]], weight_decay: float
) -> torch.optim.Optimizer:
    """The phase's optimizer over groups of (parameters, peak learning rate)."""
    kind = torch.optim.Adam if phase.optimizer == "adam" else torch.optim.AdamW
    return kind(
        [{"params": parameters, "lr": rate, "peak": rate} for parameters, rate in groups if parameters],
        betas=phase.betas,
        weight_decay=weight_decay,
    )


def weighted(phase: Phase, terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of a phase's loss terms, each times its weight."""
    return torch.stack([phase.weights[name] * value for name, value in terms.items()]).sum()
