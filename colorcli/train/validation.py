"""Validation on the held-back photographs during training.

These numbers are for choosing weights; those to publish are ``colorcli evaluate``'s.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from colorcli.color import tensors as colors
from colorcli.color.metrics import colorfulness
from colorcli.errors import NothingToDoError
from colorcli.networks.biggan_encoder import BigGANEncoder, distance_from_prior
from colorcli.networks.colorizer import Colorizer
from colorcli.pipeline.controls import CLASS_INDEX, SEED, SIGMA, ControlContext, Z
from colorcli.registry.card import read_card
from colorcli.train.data import Batch, centre
from colorcli.train.run import read_log

if TYPE_CHECKING:
    from colorcli.train.objectives.base import Grid, Setup

COUNT = 160
_GROUP = 8
_SIGMA = 0.8
_DIVERSE = 3.0


@torch.no_grad()
def validate(
    network: Colorizer, setup: Setup, judge: Callable[[Batch, Tensor, Tensor], Mapping[str, float]] | None = None
) -> tuple[dict[str, float], Grid]:
    """Colour held-back photographs at sigma 0.8; measures, and a grid of the first few.

    Where the recipe's data have labels, a network that takes a class is given them, as in training.

    Args:
        network: to measure.
        setup: of the run.
        judge: gives further measures of a batch, from its RGB and the network's native answer.

    Returns:
        ``val_psnr`` (dB), ``val_psnr_over_gray`` (dB above leaving them gray), ``val_ab_error`` (mean distance in
        CIELAB units), ``val_colorfulness_ratio`` (to the originals'), and of an encoder into a generator's latents
        ``val_latent_distance`` (see ``distance_from_prior``); and rows of gray, output, two outputs at
        sigma 3 where the network takes z, original. ``judge``'s measures follow as ``val_NAME``.
    """
    measures: dict[str, list[float]] = {name: [] for name in ("psnr", "gray", "error", "vividness", "truth")}
    grid: Grid = []
    distances: list[float] = []
    judged: dict[str, list[float]] = {}
    for batch in groups(setup):
        gray = torch.from_numpy(batch.gray).to(setup.device)
        rgb = torch.from_numpy(batch.rgb).to(setup.device)
        lightness = at_working_size(colors.gray_to_lightness(gray), network)
        lab = colors.srgb_to_lab(rgb)
        plain = colors.with_chroma(lab[:, :1], torch.zeros_like(lab[:, 1:])).clamp(0, 1)

        taken: dict[str, Tensor] = {}
        if CLASS_INDEX.name in network.controls and setup.recipe.data.labels != "none":
            taken[CLASS_INDEX.name] = torch.from_numpy(batch.labels).to(setup.device)

        def answer(
            sigma: float,
            sample: int = 0,
            batch: Batch = batch,
            lightness: Tensor = lightness,
            taken: dict[str, Tensor] = taken,
        ) -> Tensor:
            return network.native(lightness, **codes(network, setup, batch, sigma, sample), **taken)

        own = answer(_SIGMA)
        output = colors.with_chroma(lab[:, :1], network.to_chroma(own, lightness)).clamp(0, 1)
        for name, value in (judge(batch, rgb, own) if judge else {}).items():
            judged.setdefault(name, []).extend([value] * len(batch))
        if isinstance(network, BigGANEncoder):
            distances += distance_from_prior(network.latent(colors.lightness_to_gray(lightness))).tolist()
        measures["psnr"] += _psnr(output, rgb)
        measures["gray"] += _psnr(plain, rgb)
        measures["error"] += (colors.srgb_to_lab(output) - lab)[:, 1:].square().sum(1).sqrt().mean((1, 2)).tolist()
        pictures, originals = to_uint8(output), to_uint8(rgb)
        measures["vividness"] += [colorfulness(picture) for picture in pictures]
        measures["truth"] += [colorfulness(picture) for picture in originals]
        if not grid:
            columns = [to_uint8(gray.expand(-1, 3, -1, -1)), pictures]
            if Z.name in network.controls:
                others = (network.to_chroma(answer(_DIVERSE, sample), lightness) for sample in (1, 2))
                columns += [to_uint8(colors.with_chroma(lab[:, :1], chroma).clamp(0, 1)) for chroma in others]
            grid = [list(row) for row in zip(*columns, originals, strict=True)]
    if not grid:
        raise NothingToDoError("No held-back photograph is both readable and in colour.")
    mean = {name: float(np.mean(values)) for name, values in measures.items()}
    return {
        "val_psnr": mean["psnr"],
        "val_psnr_over_gray": mean["psnr"] - mean["gray"],
        "val_ab_error": mean["error"],
        "val_colorfulness_ratio": mean["vividness"] / max(mean["truth"], 1e-6),
        **({"val_latent_distance": float(np.mean(distances))} if distances else {}),
        **{f"val_{name}": float(np.mean(values)) for name, values in judged.items()},
    }, grid


def codes(network: Colorizer, setup: Setup, batch: Batch, sigma: float, sample: int) -> dict[str, Tensor]:
    """The random codes of a batch's photographs, as ``colorize`` draws them; none for a network that takes none."""
    if Z.name not in network.controls:
        return {}
    settings = {SIGMA.name: sigma, SEED.name: setup.recipe.seed}
    drawn = np.stack([Z.make(settings, ControlContext(name, sample)) for name in batch.names])
    return {Z.name: torch.from_numpy(drawn).to(setup.device)}


def at_working_size(lightness: Tensor, network: Colorizer) -> Tensor:
    """Lightness at the nearest size that the network takes."""
    rule = network.size_rule
    height, width = lightness.shape[-2:]
    shape = rule.working_shape(height, width, None if rule.fixed else min(height, width))
    if shape == (height, width):
        return lightness
    return F.interpolate(lightness, size=shape, mode="bilinear", align_corners=False, antialias=True)


def before_after(folder: Path) -> tuple[int, list[tuple[str, float, float]]]:
    """What training changed: number of held-back photographs, and (measure, before, with the weights that are kept)."""
    records = [record for record in read_log(folder) if "val_psnr" in record]
    measured = {r["step"]: {k: v for k, v in r.items() if k.startswith("val_")} for r in records}
    kept = read_card(folder).training["steps"]
    count = json.loads((folder / "environment.json").read_text(encoding="utf-8"))[-1]["data"]["validation"]
    first, last = measured[0], measured[kept]
    table = [(name.removeprefix("val_"), value, last[name]) for name, value in first.items() if name in last]
    return min(count, COUNT), table


def groups(setup: Setup, count: int = COUNT) -> Iterator[Batch]:
    """The held-back photographs, undegraded centre crops, a few at a time."""
    side = setup.recipe.validation_side
    read = ((entry, setup.photos.read(entry, side)) for entry in setup.held_back[:count])
    samples = (
        dataclasses.replace(centre(image, side, entry.name), label=entry.label)
        for entry, image in read
        if image is not None
    )
    while group := list(itertools.islice(samples, _GROUP)):
        yield Batch.of(group)


def to_uint8(images: Tensor) -> list[NDArray[np.uint8]]:
    """sRGB 0..1 ``(N, 3, H, W)`` as images ``(H, W, 3)``."""
    array = (images.clamp(0, 1) * 255).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    return list(array)


def _psnr(image: Tensor, truth: Tensor) -> list[float]:
    mse: Tensor = (image - truth).square().mean((1, 2, 3)).clamp_min(1e-10)
    values: list[float] = (-10 * mse.log10()).tolist()
    return values
