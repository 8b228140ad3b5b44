"""Training any colorizer: its native answer against its target, with a discriminator where the recipe has one."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache, cached_property, partial
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from colorcli.color import bins
from colorcli.color import tensors as colors
from colorcli.errors import ModelError, UsageError
from colorcli.networks.backbones import EfficientNetLite0, VGG16Features
from colorcli.networks.colorizer import Colorizer
from colorcli.pipeline.controls import CLASS_INDEX, Z
from colorcli.registry.registry import fill_frozen
from colorcli.registry.systems import systems
from colorcli.train import discriminators, losses, plugins
from colorcli.train.data import Augment, Batch, Loader
from colorcli.train.figures import figures
from colorcli.train.objectives.base import Grid, Objective, Setup, Update, optimizer, weighted
from colorcli.train.pretrained import fill, network_of
from colorcli.train.recipe import Phase, Recipe
from colorcli.train.run import Run
from colorcli.train.statistics import statistics
from colorcli.train.validation import validate

_FITTED_ON = 128


class Standard(Objective):
    """The objective of every system, unless its recipe names another.

    The discriminator sees L* and chroma together (``sees = "lab"``: L*/50-1 and ab/110, three channels) or RGB in
    -1..1 (``sees = "rgb"``), at the resolution of the network's answer.
    """

    terms: ClassVar[tuple[str, ...]] = (
        *("native", "delta_e", "edges", "colorfulness", "perceptual", "adversarial", "diversity"),
    )
    takes_added_terms = True
    network: Colorizer

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        """See ``Objective.check``. Raises ModelError for an unknown system, UsageError for an unknown preset."""
        kind = systems().network_class(recipe.system)
        if recipe.preset not in kind.presets:
            raise UsageError(f"{recipe.system} has no preset '{recipe.preset}'; it has {', '.join(kind.presets)}.")

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        crop, unit = self.recipe.data.crop, self.network.size_rule.multiple_of
        if crop % unit:
            raise UsageError(f"{self.recipe.system} takes sides that are multiples of {unit}, not crops of {crop} px.")
        if any(phase.rebalance for phase in self.recipe.phases):
            # Here, since counting needs all processes.
            statistics(setup.photos, setup.photos.train, setup.say)
        if self.network.fitted and setup.start is None:
            self._fit()
        torch.manual_seed(self.recipe.seed + 1)
        self._generators: dict[str, Colorizer] = {}
        self._masks: list[RemovableHandle] = []
        options = dict(self.recipe.discriminator)
        self._sees = options.pop("sees", "lab" if self.network.native_space != "rgb" else "rgb")
        if options:
            discriminator = discriminators.discriminator(**options)
            if "discriminator" in self.recipe.init:
                fill(discriminator, self.recipe.init["discriminator"])
            self.parts["discriminator"] = setup.place(discriminator)
        elif any(phase.train != "generator" or phase.weights.get("adversarial") for phase in self.recipe.phases):
            raise UsageError(f"Recipe '{self.recipe.name}' has an adversarial phase but no [discriminator].")
        for phase in self.recipe.phases:
            self._refuse_what_the_network_cannot(phase)
            if phase.fakes not in ("generator", "recolored"):
                # Checked here, since the phase may begin after hours of another one.
                try:
                    self._earlier(phase.fakes)
                except ModelError as error:
                    raise ModelError(
                        f"The fakes of phase '{phase.name}' come from an earlier model. {error} Train it first, or "
                        f"name another one: --set phases.{self.recipe.phases.index(phase)}.fakes=MODEL."
                    ) from error

    @torch.no_grad()
    def _fit(self) -> None:
        """Show the network the same random photographs in every process, for what it counts once."""
        crop = self.recipe.data.crop
        plain = Augment(crop, (crop, crop), degrade=0.0, films=False, exposure=0.0)
        loader = Loader(self.setup.photos, plain, batch=_FITTED_ON, seed=self.recipe.seed)
        gray = torch.from_numpy(next(loader.stream(0, 1)).gray).to(self.setup.device)
        self.network.fit(colors.gray_to_lightness(gray))

    def _refuse_what_the_network_cannot(self, phase: Phase) -> None:
        """Refuse settings now that would fail in the middle of the phase, or have no effect."""
        system, several = self.recipe.system, Z.name in self.network.controls
        if phase.samples > 1 and not several:
            raise UsageError(f"Phase '{phase.name}' asks for {phase.samples} samples, but {system} gives one answer.")
        if phase.weights.get("diversity") and phase.samples < 2:
            raise UsageError(f"The term 'diversity' of phase '{phase.name}' compares samples: it needs samples = 2.")
        if (self._loss(phase) == "cross_entropy") != (self.network.native_space == "bins"):
            raise UsageError(
                f"Phase '{phase.name}' cannot have the loss {phase.loss}: {system} answers in "
                f"{self.network.native_space}; cross_entropy is for bins only, and bins take no other loss."
            )

    def build(self) -> Colorizer:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        kind = systems().network_class(recipe.system)
        try:
            network = kind(**{**kind.presets[recipe.preset], **recipe.network})
        except (TypeError, ValueError) as error:
            raise UsageError(f"The network of recipe '{recipe.name}' does not take its arguments: {error}.") from error
        fill_frozen(network)
        for part, name in recipe.init.items():
            if part == "discriminator":
                continue
            module = dict(network.named_modules()).get(part)
            if module is None or part in network.frozen_parts:
                why = "is frozen and has its weights already" if module is not None else "is not there"
                raise UsageError(f"init.{part} cannot be set: that part of {recipe.system} {why}.")
            if name != "teacher":
                fill(module, name)
            elif isinstance(module, EfficientNetLite0):
                module.load_reference(self.setup.teacher.state_dict())
            else:
                raise UsageError(f"init.{part} cannot be the teacher: that part of {recipe.system} is another network.")
        return network

    def optimizers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        self._phase = phase
        self._let_learn(phase.learns)
        slow = {id(p) for part in self.network.slow_parts for p in self.network.get_submodule(part).parameters()}
        learning = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            ([p for p in learning if id(p) not in slow], phase.lr),
            ([p for p in learning if id(p) in slow], phase.backbone_lr),
        ]
        made = {"generator": optimizer(phase, groups, phase.weight_decay)}
        if "discriminator" in self.parts:
            judging = list(self.parts["discriminator"].parameters())
            made["discriminator"] = optimizer(phase, [(judging, phase.d_lr)], phase.d_weight_decay)
        return made

    def _let_learn(self, patterns: tuple[str, ...]) -> None:
        """Make trainable the parameters whose names match a pattern; without patterns, all but frozen parts."""
        for handle in self._masks:
            handle.remove()
        self._masks.clear()
        frozen = tuple(f"{part}." for part in self.network.frozen_parts)
        own = {name: p for name, p in self.network.named_parameters() if not name.startswith(frozen)}
        for parameter in own.values():
            parameter.requires_grad_(not patterns)
        for pattern in patterns:
            names, _, first = pattern.removesuffix("]").partition("[")
            matching = [parameter for name, parameter in own.items() if fnmatchcase(name, names)]
            if not matching:
                raise UsageError(f"No parameter of {self.recipe.system} is called '{names}', as learns asks.")
            for parameter in matching:
                parameter.requires_grad_(True)
                if first:
                    mask = torch.zeros_like(parameter)
                    mask[:, int(first) :] = 1
                    self._masks.append(parameter.register_hook(partial(torch.mul, mask)))  # type: ignore[no-untyped-call]

    def step(self, phase: Phase, index: int, batch: Batch, update: Update) -> dict[str, Tensor]:
        device = self.setup.device
        rgb = torch.from_numpy(batch.rgb).to(device, memory_format=torch.channels_last)
        gray = torch.from_numpy(batch.gray).to(device, memory_format=torch.channels_last)
        classes = self._classes(batch, rgb)
        codes = self._codes(phase, len(batch))
        learns = phase.train != "discriminator"
        self.setup.learn(self.network, learns, statistics=not phase.learns)
        with torch.set_grad_enabled(learns), self.setup.autocast():
            answers, extra = self._answer(phase, gray, codes, classes)
        answers = [answer.float() for answer in answers]
        small = resized(rgb, answers[0])
        lab = colors.srgb_to_lab(small)
        terms: dict[str, Tensor] = {}
        if phase.train != "generator" and index % phase.d_every == 0:
            with torch.no_grad():
                fake = self._fake(phase, batch, small, lab, answers[0])
                real = self._real(phase, small)
            terms |= self.discriminate(phase, real, fake, self._conditions(classes, rgb), update)
        if learns:
            values = self._native(phase, answers, rgb, small)
            values |= self._terms(phase, answers, extra, codes, lab, small, rgb, classes)
            loss = weighted(phase, values)
            terms["gradient"] = update("generator", loss)
            terms |= {name: value.detach() for name, value in values.items()} | {"loss": loss.detach()}
        return terms

    def validate(self, network: nn.Module) -> tuple[dict[str, float], Grid]:
        return validate(cast(Colorizer, network), self.setup, self._judge)

    def write(self, run: Run, network: nn.Module, facts: Mapping[str, Any]) -> None:
        run.write_model(cast(Colorizer, network), self.recipe, dict(facts))

    def figures(self, network: nn.Module) -> dict[str, Image.Image]:
        return figures(cast(Colorizer, network), self.setup)

    def _judge(self, batch: Batch, rgb: Tensor, answer: Tensor) -> dict[str, float]:
        """The phase's native loss, and the discriminator's accuracy, on held-back photographs."""
        phase, answer = self._phase, answer.float()
        small = resized(rgb, answer)
        values = self._native(phase, [answer], rgb, small) if phase.train != "discriminator" else {}
        if phase.train != "generator":
            self.parts["discriminator"].eval()
            # The same recolouring in every check; and training draws as it would have without the check.
            with torch.random.fork_rng(), self.setup.autocast():
                torch.manual_seed(self.recipe.seed)
                fake = self._fake(phase, batch, small, colors.srgb_to_lab(small), answer)
                classes = self._conditions(self._classes(batch, rgb), rgb)
                scores = [self._score(image, classes).float() for image in (self._real(phase, small), fake)]
            values["d_accuracy"] = losses.discriminator_accuracy(*scores)
        return {name: float(value) for name, value in values.items()}

    # The parts of a step, for objectives that differ in one of them.

    def _classes(self, batch: Batch, rgb: Tensor) -> Tensor | None:
        """The class of each photograph, where the recipe says where from; else the network's own classifier decides."""
        if CLASS_INDEX.name not in self.network.controls or self.recipe.data.labels == "none":
            return None
        return torch.from_numpy(batch.labels).to(rgb.device)

    def _conditions(self, classes: Tensor | None, rgb: Tensor) -> Tensor:
        """Classes for the discriminator; zeros for one that takes none."""
        return rgb.new_zeros(len(rgb), dtype=torch.int64) if classes is None else classes

    def _codes(self, phase: Phase, count: int) -> list[Tensor]:
        """A random code for each sample of each photograph, already scaled by sigma."""
        if Z.name not in self.network.controls:
            return []
        sigma = self.setup.draw(lambda n: torch.empty(n, 1).uniform_(*phase.sigma), count)
        shape = [int(side) for side in Z.shape]
        return [sigma * self.setup.draw(lambda n: torch.randn(n, *shape), count) for _ in range(phase.samples)]

    def _answer(
        self, phase: Phase, gray: Tensor, codes: list[Tensor], classes: Tensor | None
    ) -> tuple[list[Tensor], Any]:
        """Native answers, one for each code (a single one without codes), and whatever further terms need."""
        lightness = colors.gray_to_lightness(gray)
        taken = {CLASS_INDEX.name: classes} if classes is not None else {}
        if not codes:
            return [self.network.native(lightness, **taken)], None
        return [self.network.native(lightness, **{Z.name: code}, **taken) for code in codes], None

    def _native(self, phase: Phase, answers: list[Tensor], rgb: Tensor, small: Tensor) -> dict[str, Tensor]:
        """The distance of the native answers from their target; the best sample of a photograph counts in full."""
        if not phase.weights.get("native"):
            return {}
        with torch.no_grad():
            target = self.network.target(small)
            if target.shape[-2:] != answers[0].shape[-2:]:
                target = self.network.target(rgb)
            weight = self._rebalancing(phase, small, target)
        errors = torch.stack(
            [losses.distance(self._loss(phase), answer, target, weight, phase.cells) for answer in answers]
        )
        best = errors.min(0).values
        return {"native": (best + phase.others * (errors.sum(0) - best)).mean()}

    def _loss(self, phase: Phase) -> str:
        if phase.loss != "auto":
            return phase.loss
        return "cross_entropy" if self.network.native_space == "bins" else "smooth_l1"

    def _terms(
        self,
        phase: Phase,
        answers: list[Tensor],
        extra: Any,
        codes: list[Tensor],
        lab: Tensor,
        small: Tensor,
        rgb: Tensor,
        classes: Tensor | None,
    ) -> dict[str, Tensor]:
        """The terms beside the native one that the phase gives a weight."""
        values: dict[str, Tensor] = {}
        wanted = phase.weights.get
        of_chroma = {"delta_e": losses.delta_e94, "edges": losses.edge_distance}
        asked = {name: distance for name, distance in of_chroma.items() if wanted(name)}
        if asked:
            chroma = self.network.to_chroma(answers[0], lab[:, :1])
            values |= {name: distance(chroma, lab[:, 1:]) for name, distance in asked.items()}
        if wanted("colorfulness"):
            values["colorfulness"] = losses.colorfulness_shortfall(self._rgb(answers[0], lab))
        if wanted("diversity"):
            pair = tuple(self.network.to_chroma(answer, lab[:, :1]) for answer in answers[:2])
            values["diversity"] = losses.diversity_shortfall(
                cast(tuple[Tensor, Tensor], pair), (codes[0], codes[1]), phase.diversity
            )
        if wanted("adversarial"):
            values["adversarial"] = self.deceive(phase, self._see(answers[0], lab), self._conditions(classes, rgb))
        if wanted("perceptual"):
            fake = self._rgb(answers[0], lab)
            with self.setup.autocast():
                ours = self._perceive(fake)
                with torch.no_grad():
                    truth = self._perceive(small)
            values["perceptual"] = losses.feature_distance(ours, truth, relative=self.recipe.perceptual == "teacher")
        added = [name for name in plugins.points("losses") if wanted(name)]
        if added:
            fake = self._rgb(answers[0], lab)
            values |= {name: plugins.load("losses", name)(fake, small) for name in added}
        return values

    def _rgb(self, answer: Tensor, lab: Tensor) -> Tensor:
        """An answer as sRGB; chroma joins the true lightness, so that gradients are about colour alone."""
        return self.network.as_rgb(answer, lab[:, :1])

    def _see(self, answer: Tensor, lab: Tensor) -> Tensor:
        """What the discriminator sees of an answer."""
        if self._sees == "rgb":
            return self._rgb(answer, lab) * 2 - 1
        return torch.cat((lab[:, :1] / 50 - 1, self.network.to_chroma(answer, lab[:, :1]) / 110), 1)

    def _seen(self, rgb: Tensor) -> Tensor:
        """What the discriminator sees of a photograph in sRGB 0..1."""
        if self._sees == "rgb":
            return rgb * 2 - 1
        lab = colors.srgb_to_lab(rgb)
        return torch.cat((lab[:, :1] / 50 - 1, lab[:, 1:] / 110), 1)

    def _real(self, phase: Phase, small: Tensor) -> Tensor:
        """What the discriminator is shown as true."""
        return self._seen(losses.vivid(small, phase.real_chroma) if phase.real_chroma != 1 else small)

    def _fake(self, phase: Phase, batch: Batch, small: Tensor, lab: Tensor, answer: Tensor) -> Tensor:
        """What the discriminator is shown as false."""
        if phase.fakes == "generator":
            return self._see(answer.detach(), lab)
        if phase.fakes == "recolored":
            gains = self.setup.draw(lambda n: torch.empty(n, 3, 1, 1).uniform_(0.5, 1.5), len(batch))
            return self._seen((small * gains).clamp(0, 1))
        earlier = self._earlier(phase.fakes)
        gray = torch.from_numpy(batch.gray).to(small.device)
        chroma = earlier.chroma(colors.gray_to_lightness(gray))
        return self._seen(colors.with_chroma(lab[:, :1], resized(chroma, lab)).clamp(0, 1))

    def _earlier(self, name: str) -> Colorizer:
        """The generator of an earlier run."""
        if name not in self._generators:
            self._generators[name] = self.setup.place(network_of(name))
            self._generators[name].prepare()
        return self._generators[name]

    @cached_property
    def _vgg(self) -> VGG16Features:
        features = VGG16Features()
        fill(features, "vgg16")
        placed: VGG16Features = self.setup.place(features)
        return placed.requires_grad_(False).eval()

    def _perceive(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Features of sRGB 0..1 for the perceptual term."""
        if self.recipe.perceptual == "vgg16":
            return tuple(feature.float() for feature in self._vgg(rgb))
        return tuple(feature.float() for feature in self.setup.teacher(rgb)[:3])

    def _rebalancing(self, phase: Phase, small: Tensor, target: Tensor) -> Tensor | None:
        """Weights ``(N, 1, h, w)`` that compensate for rare colours, or None."""
        if not phase.rebalance:
            return None
        table = self._rebalancing_table(self._loss(phase) == "cross_entropy", phase.rebalance).to(target.device)
        if self._loss(phase) == "cross_entropy":
            return colors.class_weight(target, table)
        return colors.histogram_weight(colors.srgb_to_lab(small)[:, 1:], table)

    @cache  # noqa: B019 - an objective lives as long as its run
    def _rebalancing_table(self, classes: bool, mix: float) -> Tensor:
        """Zhang et al.'s weights of the 313 classes, or Lin and Ferreira's of the ab plane, from the training set."""
        histogram = statistics(self.setup.photos, self.setup.photos.train, self.setup.say).histogram
        weights = (
            bins.class_weights(bins.prior_of(histogram), mix=mix)
            if classes
            else bins.histogram_weights(histogram, mix=mix)
        )
        return torch.from_numpy(weights).float()


def resized(image: Tensor, like: Tensor) -> Tensor:
    """An image at the size of another: averaged where it shrinks, bilinear where it grows."""
    height, width = like.shape[-2:]
    if image.shape[-2:] == (height, width):
        return image
    if image.shape[-2] >= height:
        return F.interpolate(image, size=(height, width), mode="area")
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
