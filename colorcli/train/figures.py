"""The papers' figures, drawn for a finished run into its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from colorcli.color import bins
from colorcli.color import tensors as colors
from colorcli.networks.biggan_encoder import BigGANEncoder, distance_from_prior
from colorcli.networks.colorizer import Colorizer
from colorcli.pipeline.controls import SIGMA, Z
from colorcli.train.objectives.base import Setup
from colorcli.train.statistics import statistics
from colorcli.train.validation import at_working_size, codes, groups, to_uint8

_SIGMAS = (0.8, 3.0, 10.0)
_SAMPLES = 3
_ROWS = 4
_PAD = 36
_EXTENT = 110


def figures(network: Colorizer, setup: Setup) -> dict[str, Image.Image]:
    """The papers' figures for this kind of network, by name.

    ``sigma``: a photograph at growing sigma (García et al. 2024, figure 5). ``latents``: histogram of an encoder's
    latent values beside a truncated normal distribution (Wang, figure 4). ``rebalancing``: the training set's ab
    distribution and the weights that make up for it (Lin and Ferreira, section 4.1; Zhang et al. 2016, figure 3).
    """
    drawn: dict[str, Image.Image] = {}
    if Z.name in network.controls:
        drawn[SIGMA.name] = _sigma(network, setup)
    if isinstance(network, BigGANEncoder):
        drawn["latents"] = _latents(network, setup)
    mixes = [phase.rebalance for phase in setup.recipe.phases if phase.rebalance]
    if mixes:
        drawn["rebalancing"] = _rebalancing(setup, mixes[0])
    return drawn


@torch.no_grad()
def _sigma(network: Colorizer, setup: Setup) -> Image.Image:
    """Up to four photographs, a row for each: gray, three samples for every sigma, original."""
    batch = next(groups(setup, _ROWS))
    gray = torch.from_numpy(batch.gray).to(setup.device)
    lightness = at_working_size(colors.gray_to_lightness(gray), network)
    true = colors.srgb_to_lab(torch.from_numpy(batch.rgb).to(setup.device))[:, :1]
    columns = [to_uint8(gray.expand(-1, 3, -1, -1))]
    for sigma in _SIGMAS:
        for sample in range(_SAMPLES):
            chroma = network.chroma(lightness, **codes(network, setup, batch, sigma, sample))
            columns.append(to_uint8(colors.with_chroma(true, chroma)))
    columns.append(to_uint8(torch.from_numpy(batch.rgb)))
    titles = ["gray", *(f"sigma {sigma:g}" for sigma in _SIGMAS for _ in range(_SAMPLES)), "original"]
    return strips(columns, titles)


def strips(columns: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str]) -> Image.Image:
    """Images ``(H, W, 3)`` of one size in columns under their titles, a row for each photograph."""
    grid = Image.fromarray(np.concatenate([np.concatenate(list(column), 0) for column in columns], 1))
    image = Image.new("RGB", (grid.width, grid.height + 20), "white")
    image.paste(grid, (0, 20))
    for index, title in enumerate(titles):
        ImageDraw.Draw(image).text((index * grid.width // len(columns) + 4, 4), title, fill="black")
    return image


def variants(folder: Path) -> Image.Image | None:
    """The same held-back photographs by a run and those beside it (as in Beyer Bruvik and Penfold), or None.

    These are the last samples of the finished runs in the same parent folder that train the same system and hold back
    the same photographs.
    """
    own = _held_back(folder)
    runs = sorted(path.parent for path in folder.absolute().parent.glob("*/model.toml"))
    alike = [run for run in runs if _held_back(run) == own]
    if len(alike) < 2 or own is None:
        return None
    grids = [np.asarray(Image.open(max((run / "samples").glob("step-*.png"))).convert("RGB")) for run in alike]
    side, height = own[-1], min(len(grid) for grid in grids)
    columns = [grid[:height, side : 2 * side] for grid in grids]
    columns = [grids[0][:height, :side], *columns, grids[0][:height, -side:]]
    return strips([[column] for column in columns], ["gray", *(run.name for run in alike), "original"])


def _held_back(folder: Path) -> tuple[Any, ...] | None:
    """Settings that runs must share for comparable samples; None if a run has no samples yet."""
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        data = json.loads((folder / "environment.json").read_text(encoding="utf-8"))[-1]["data"]
        if not any((folder / "samples").glob("step-*.png")):
            return None
        roots = sorted(str(Path(root).absolute()) for root in data["roots"])
        return recipe["system"], roots, data["validation"], recipe["data"]["held_back"], recipe["validation_side"]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


@torch.no_grad()
def _latents(network: BigGANEncoder, setup: Setup) -> Image.Image:
    latents = [network.latent(torch.from_numpy(batch.gray).to(setup.device)).cpu() for batch in groups(setup)]
    distances = [distance_from_prior(values) for values in latents]
    found = torch.cat(latents).flatten().numpy()
    edges = np.linspace(-4, 4, 81)
    share = np.histogram(found.clip(-4, 4), edges)[0] / len(found) / (edges[1] - edges[0])
    middles = (edges[1:] + edges[:-1]) / 2
    density = np.exp(-(middles**2) / 2) / math.sqrt(2 * math.pi) / math.erf(2 / math.sqrt(2))
    density[np.abs(middles) > 2] = 0
    far = float(torch.cat(distances).mean())
    title = f"latent values (bars), truncated normal (line); 1-Wasserstein distance {far:.2f}, sd {found.std():.2f}"
    return _histogram(middles, share, density, title)


def _histogram(x: NDArray[np.float64], bars: NDArray[np.float64], line: NDArray[np.float64], title: str) -> Image.Image:
    width, height = 640, 360
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.text((width // 2 - 40, height - 14), "latent value", fill="black")
    draw.text((4, 24), "share per unit", fill="black")
    top = max(float(bars.max()), float(line.max())) * 1.05
    scale_x = (width - 2 * _PAD) / len(x)

    def point(index: float, value: float) -> tuple[float, float]:
        return _PAD + index * scale_x, height - _PAD - value / top * (height - 2 * _PAD)

    for index, value in enumerate(bars):
        draw.rectangle((*point(index, value), *point(index + 0.9, 0)), fill=(140, 170, 210))
    draw.line([point(index + 0.5, value) for index, value in enumerate(line)], fill=(200, 60, 40), width=2)
    draw.text((_PAD, 10), title, fill="black")
    step = x[1] - x[0]
    for index in range(0, len(x) + 1, 10):
        draw.text((point(index, 0)[0] - 6, height - _PAD + 6), f"{x[0] + (index - 0.5) * step:.0f}", fill="black")
    return image


def _rebalancing(setup: Setup, mix: float) -> Image.Image:
    histogram = statistics(setup.photos, setup.photos.train).histogram
    share = np.log10(np.maximum(histogram / histogram.sum(), 1e-8))
    weights = np.log10(bins.histogram_weights(histogram, mix=mix))
    seen = histogram > 0
    panels = [
        _plane(share, seen, "share of colours, log10"),
        _plane(weights, seen, f"weight v at lambda {mix:g}, log10"),
    ]
    image = Image.new("RGB", (sum(panel.width for panel in panels), panels[0].height), "white")
    left = 0
    for panel in panels:
        image.paste(panel, (left, 0))
        left += panel.width
    return image


def _plane(values: NDArray[np.float64], known: NDArray[np.bool_], title: str) -> Image.Image:
    """A table over a* (down) and b* (right), where it is known, in gray from low (dark) to high (light)."""
    middle = bins.HISTOGRAM // 2
    window = slice(middle - _EXTENT, middle + _EXTENT)
    part, mask = values[window, window], known[window, window]
    low, high = float(part[mask].min()), float(part[mask].max())
    level = np.where(mask, (part - low) / max(high - low, 1e-9) * 220, 255)
    side = 2 * 2 * _EXTENT
    picture = Image.fromarray(level.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    image = Image.new("RGB", (side + 2 * _PAD, side + 2 * _PAD), "white")
    image.paste(picture, (_PAD, _PAD))
    draw = ImageDraw.Draw(image)
    draw.text((_PAD, 10), f"{title}: {low:.1f} (dark) to {high:.1f} (light)", fill="black")
    draw.text((_PAD, side + _PAD + 6), f"b* {-_EXTENT} to {_EXTENT}; a* downwards", fill="black")
    return image
