"""The metrics, each with its formula and source.

Images are compared as 8-bit sRGB, rounded, at the protocol's geometry. A metric *of an image* is averaged over
images; a metric *of a set* has one value for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from colorcli.color.bins import ab_bins, class_weights
from colorcli.color.metrics import colorfulness, psnr_rgb8
from colorcli.color.scoring import SSIM_WINDOW, lab_rgb8, mean_delta_e_2000, ssim_rgb8
from colorcli.errors import UsageError
from colorcli.report.records import MetricRecord
from colorcli.text import near

Rgb8 = NDArray[np.uint8]
Planes = NDArray[np.float64]
Better = Literal["higher", "lower", "none"]

AUC_TO = 150.0
"""Largest distance in the ab plane over which the accuracy curve of ``auc`` is integrated."""

_BIN_SIDE = 10
_GRID = 27


class Picture:
    """An image, uint8 ``(H, W, 3)``, with intermediate results that several metrics share."""

    def __init__(self, rgb: Rgb8) -> None:
        self.rgb = rgb

    @cached_property
    def lab(self) -> Planes:
        """CIELAB, float64 ``(3, H, W)``."""
        return lab_rgb8(self.rgb)

    @cached_property
    def colorfulness(self) -> float:
        """Hasler and Suesstrunk's, signed."""
        return colorfulness(self.rgb)


@dataclass(frozen=True)
class Scene:
    """An original and the gray photograph that was made of it."""

    original: Picture
    gray: Picture

    @cached_property
    def rarity(self) -> NDArray[np.float64]:
        """Weight of each pixel ``(H, W)`` by how rare the original's colour is, see ``auc_rebalanced``."""
        return _rarity()[_bin_of(self.original.lab[1:])]


def psnr(picture: Picture, scene: Scene) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / MSE) over pixels and channels (ISO/IEC 29170-1)."""
    return psnr_rgb8(picture.rgb, scene.original.rgb)


def ssim(picture: Picture, scene: Scene) -> float:
    """Structural similarity, 11 x 11 Gaussian of sigma 1.5, mean over R, G, B (Wang et al. 2004, equation 13).

    NaN for images smaller than the window.
    """
    small = min(picture.rgb.shape[:2]) < SSIM_WINDOW
    return math.nan if small else ssim_rgb8(picture.rgb, scene.original.rgb)


def mse_rgb(picture: Picture, scene: Scene) -> float:
    """Mean squared error over pixels and channels of R, G, B in 0..1, as tables of generators report it."""
    difference = picture.rgb.astype(np.float64) - scene.original.rgb
    return float(np.mean(np.square(difference))) / 255**2


def mse_lab(picture: Picture, scene: Scene) -> float:
    """Mean squared error over pixels of a*/128 and b*/128: 1/(2hw) sum ||Y - Y'||^2.

    Lin and Ferreira, "Automated image colorization using deep learning", equation 1.
    """
    return _mean_square_ab(picture, scene) / 128**2


def ab_rmse(picture: Picture, scene: Scene) -> float:
    """Root of the mean squared error over pixels and both channels of a*, b*, in CIELAB units.

    Deshpande, Rock and Forsyth, "Learning large-scale automatic image colorization" (2015), section 5.
    """
    return math.sqrt(_mean_square_ab(picture, scene))


def ab_psnr(picture: Picture, scene: Scene) -> float:
    """10 log10(255^2 / MSE) in dB, the MSE taken over pixels and both channels of a*, b*, whose 8-bit range is 255."""
    error = _mean_square_ab(picture, scene)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def delta_e(picture: Picture, scene: Scene) -> float:
    """Mean CIEDE2000 over pixels (Sharma, Wu and Dalal 2005), kL = kC = kH = 1."""
    return mean_delta_e_2000(picture.lab, scene.original.lab)


def signed_colorfulness(picture: Picture, scene: Scene) -> float:
    """Hasler and Suesstrunk (2003), section 7: sqrt(std(rg)^2 + std(yb)^2) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2)."""
    return picture.colorfulness


def absolute_colorfulness(picture: Picture, scene: Scene) -> float:
    """The same of |rg| and |yb|, as some papers and widespread code take it; not comparable with the signed one."""
    return colorfulness(picture.rgb, absolute=True)


def delta_colorfulness(picture: Picture, scene: Scene) -> float:
    """|C(picture) - C(original)| of each image, then the mean: mean |.| (as in Kang et al., DDColor, 2023)."""
    return abs(picture.colorfulness - scene.original.colorfulness)


def auc(picture: Picture, scene: Scene) -> float:
    """Area under the accuracy curve, in percent: the share of pixels whose a*, b* are within t of the truth, t 0..150.

    Zhang, Isola and Efros, "Colorful image colorization" (2016), section 3.1. The mean over t of that share is, for
    each pixel, 1 - distance / 150 (0 beyond), so it is integrated exactly: 0.2 to 0.3 points above ``auc_steps``.
    """
    return 100 * float(np.mean(_within(picture, scene)))


def auc_rebalanced(picture: Picture, scene: Scene) -> float:
    """The same with pixels weighted by the inverse probability of the original's colour.

    Zhang et al. (2016), section 3.1: equation 4 with lambda = 0, over the 313 bins and their released ImageNet prior,
    which is smoothed already. Over several images it is the weighted mean over all pixels, so an image counts by the
    sum of its weights.
    """
    return 100 * float(np.average(_within(picture, scene), weights=scene.rarity))


def auc_steps(picture: Picture, scene: Scene) -> float:
    """Area under the accuracy curve as most programs compute it, in percent: the mean over t = 0, 1, 2 … 150."""
    return 100 * float(np.mean(_within_steps(picture, scene)))


def auc_rebalanced_steps(picture: Picture, scene: Scene) -> float:
    """Area under the rebalanced curve as most programs compute it, in percent: the mean over t = 0, 1, 2 … 150."""
    return 100 * float(np.average(_within_steps(picture, scene), weights=scene.rarity))


def delta_l(picture: Picture, scene: Scene) -> float:
    """Fidelity: mean |L* of the picture - L* of the gray photograph it was made from| over pixels."""
    return float(np.mean(np.abs(picture.lab[0] - scene.gray.lab[0])))


def delta_l_max(picture: Picture, scene: Scene) -> float:
    """Fidelity: the largest |L* of the picture - L* of the gray photograph it was made from|."""
    return float(np.max(np.abs(picture.lab[0] - scene.gray.lab[0])))


def _mean_square_ab(picture: Picture, scene: Scene) -> float:
    return float(np.mean(np.square(picture.lab[1:] - scene.original.lab[1:])))


def _within(picture: Picture, scene: Scene) -> NDArray[np.float64]:
    a, b = picture.lab[1:] - scene.original.lab[1:]
    return np.asarray(np.maximum(0, 1 - np.hypot(a, b) / AUC_TO))


def _within_steps(picture: Picture, scene: Scene) -> NDArray[np.float64]:
    """Share of the thresholds 0, 1, 2 … 150 that each pixel meets."""
    a, b = picture.lab[1:] - scene.original.lab[1:]
    # Tolerate rounding errors, or equal colours would miss threshold 0.
    missed = np.ceil(np.hypot(a, b) - 1e-9)
    return np.asarray(np.maximum(0, AUC_TO + 1 - missed) / (AUC_TO + 1))


def _bin_of(ab: Planes) -> NDArray[np.int64]:
    """The nearest of the 313 bins. They are points of a grid, and hold the nearest grid point of every sRGB colour."""
    a, b = np.rint(ab / _BIN_SIDE).astype(np.int64) + _GRID // 2
    return np.asarray(_bin_grid()[a, b])


@cache
def _bin_grid() -> NDArray[np.int64]:
    a, b = np.rint(ab_bins().centres.T / _BIN_SIDE).astype(np.int64) + _GRID // 2
    grid = np.full((_GRID, _GRID), -1)
    grid[a, b] = np.arange(len(a))
    return grid


@cache
def _rarity() -> NDArray[np.float64]:
    return class_weights(mix=0.0)


Measure = Callable[[Picture, Scene], float]


@dataclass(frozen=True)
class Metric:
    """A metric as reports show it.

    Attributes:
        id: name on the command line.
        label: column heading.
        unit: of the values.
        better: whether higher or lower values are better, or neither.
        decimals: to print.
        per_image: whether each image has a value.
        measure: its formula, where it compares one image with its original; the others are computed elsewhere.
        alone: whether it needs no original, so that the original has a value too.
        weighted: whether images count by the sum of their ``Scene.rarity``.
    """

    id: str
    label: str
    unit: str = ""
    better: Better = "lower"
    decimals: int = 2
    per_image: bool = True
    measure: Measure | None = None
    alone: bool = False
    weighted: bool = False

    def record(self) -> MetricRecord:
        """The metric as a report holds it."""
        formula = "" if self.measure is None else " ".join((self.measure.__doc__ or "").split("\n\n")[0].split())
        return {
            "id": self.id,
            "label": self.label,
            "unit": self.unit,
            "better": self.better,
            "decimals": self.decimals,
            "per_image": self.per_image,
            "text": formula or _TEXTS.get(self.id.split("@")[0], ""),
        }


LPIPS = {"lpips-alex": "alex", "lpips-vgg": "vgg"}
DIVERSITY = ("diversity", "diversity-lpips")

_TEXTS = {
    "lpips-alex": "Learned perceptual distance, version 0.1 on AlexNet (Zhang et al. 2018).",
    "lpips-vgg": "Learned perceptual distance, version 0.1 on VGG-16 (Zhang et al. 2018).",
    "fid": "Fréchet distance of Inception-v3 features (Heusel et al. 2017) between the pictures and the originals.",
    "delta-colorfulness-mean": "|mean C(pictures) - mean C(originals)|.",
    "diversity": "Mean ab distance between samples inside segments, after removing each sample's mean ab.",
    "diversity-classes": "The same between a gray photograph's likeliest classes (--classes), at one random code.",
    "diversity-lpips": "Mean pairwise LPIPS (AlexNet) between samples.",
    "native-mse": "Mean squared error of the network's own answer against its own target, in its own units.",
    "seconds": "Network and join, for one photograph.",
}

METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", "higher", 2, measure=psnr),
        Metric("ssim", "SSIM", "", "higher", 4, measure=ssim),
        Metric("mse-rgb", "MSE RGB", "", "lower", 4, measure=mse_rgb),
        Metric("mse-lab", "MSE ab/128", "", "lower", 4, measure=mse_lab),
        Metric("ab-rmse", "RMSE ab", "", "lower", 2, measure=ab_rmse),
        Metric("ab-psnr", "PSNR ab", "dB", "higher", 2, measure=ab_psnr),
        Metric("delta-e", "ΔE2000", "", "lower", 2, measure=delta_e),
        Metric("lpips-alex", "LPIPS alex", "", "lower", 4),
        Metric("lpips-vgg", "LPIPS vgg", "", "lower", 4),
        Metric("fid", "FID", "", "lower", 2, per_image=False),
        Metric("colorfulness", "Colourfulness", "", "none", 2, measure=signed_colorfulness, alone=True),
        Metric("colorfulness-abs", "Colourfulness |·|", "", "none", 2, measure=absolute_colorfulness, alone=True),
        Metric("delta-colorfulness", "ΔC, mean |·|", "", "lower", 2, measure=delta_colorfulness),
        Metric("delta-colorfulness-mean", "ΔC, |mean - mean|", "", "lower", 2, per_image=False),
        Metric("auc", "AuC", "%", "higher", 2, measure=auc),
        Metric("auc-rebalanced", "AuC rebalanced", "%", "higher", 2, measure=auc_rebalanced, weighted=True),
        Metric("auc-steps", "AuC, 151 steps", "%", "higher", 2, measure=auc_steps),
        Metric(
            "auc-rebalanced-steps",
            "AuC rebalanced, 151 steps",
            "%",
            "higher",
            2,
            measure=auc_rebalanced_steps,
            weighted=True,
        ),
        Metric("delta-l", "ΔL*, mean", "", "lower", 3, measure=delta_l),
        Metric("delta-l-max", "ΔL*, largest", "", "lower", 3, measure=delta_l_max),
        Metric("diversity", "Diversity", "", "none", 2),
        Metric("diversity-lpips", "Diversity LPIPS", "", "none", 4),
        Metric("diversity-classes", "Diversity over classes", "", "none", 2),
        Metric("native-mse", "MSE, own answer", "", "lower", 4),
        Metric("seconds", "Seconds", "s", "lower", 3),
    )
}


def choose(names: Sequence[str], sigmas: Sequence[float]) -> list[Metric]:
    """Look up metrics by name, without repeats; diversity metrics once for each sigma, as ``diversity@0.8``.

    Raises:
        UsageError: there is no such metric.
    """
    chosen: dict[str, Metric] = {}
    for name in names:
        if name not in METRICS:
            raise UsageError(f"There is no metric '{name}'{near(name, METRICS, 'colorcli evaluate --list')}")
        metric = METRICS[name]
        if name not in DIVERSITY:
            chosen[name] = metric
            continue
        for sigma in sigmas:
            spread = Metric(
                f"{name}@{sigma:g}", f"{metric.label} σ {sigma:g}", metric.unit, metric.better, metric.decimals
            )
            chosen[spread.id] = spread
    return list(chosen.values())


def required_networks(metrics: Sequence[Metric]) -> list[str]:
    """The metric networks that these metrics need, by the names under which they are pulled."""
    needed = []
    for metric in metrics:
        base = metric.id.split("@")[0]
        name = {"fid": "inception-fid", "diversity-lpips": "lpips-alex"}.get(base, base if base in LPIPS else "")
        if name and name not in needed:
            needed.append(name)
    return needed
