"""The colour formulas of ``colorcli.color.spaces`` for torch tensors, used by networks, losses and exports.

All images are ``(N, 3, H, W)``; L* is 0..100, a* and b* are CIELAB units, sRGB is 0..1. D65, 2 degree observer.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colorcli.color import bins
from colorcli.color.spaces import (
    CUBE_FROM,
    CUBE_ROOT_FROM,
    LUMA601,
    RGB_TO_XYZ,
    TOE_OFFSET,
    TOE_SLOPE,
    WHITE_D65,
)  # fmt: skip

_LUMA = LUMA601.tolist()
# Twice the largest blue - Y and red - Y, so that U and V fill -0.5..0.5.
_BLUE_RANGE, _RED_RANGE = 2 * (1 - _LUMA[2]), 2 * (1 - _LUMA[0])
_TINY = 1e-8


def _matrix(rows: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).to(like.dtype).to(like.device)


def _mix(image: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", matrix, image)


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Undo the sRGB transfer function (IEC 61966-2-1), elementwise, for values >= 0."""
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Apply the sRGB transfer function (IEC 61966-2-1), elementwise; values below 0 stay on its linear part."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def _f(t: Tensor) -> Tensor:
    return torch.where(t > CUBE_ROOT_FROM, t.clamp_min(CUBE_ROOT_FROM) ** (1 / 3), TOE_SLOPE * t + TOE_OFFSET)


def _f_inverse(t: Tensor) -> Tensor:
    return torch.where(t > CUBE_FROM, t**3, (t - TOE_OFFSET) / TOE_SLOPE)


def srgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB 0..1 to CIELAB, ``(N, 3, H, W)`` to ``(N, 3, H, W)``."""
    white = torch.tensor(WHITE_D65, dtype=rgb.dtype, device=rgb.device).view(1, 3, 1, 1)
    x, y, z = _f(_mix(srgb_to_linear(rgb), _matrix(RGB_TO_XYZ, rgb)) / white).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def lab_to_srgb(lab: Tensor) -> Tensor:
    """CIELAB to sRGB, ``(N, 3, H, W)`` to ``(N, 3, H, W)``; colours outside the gamut fall outside 0..1."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    xyz = torch.stack((_f_inverse(y + a / 500), _f_inverse(y), _f_inverse(y - b / 200)), 1)
    white = torch.tensor(WHITE_D65, dtype=lab.dtype, device=lab.device).view(1, 3, 1, 1)
    inverse = torch.linalg.inv(torch.tensor(RGB_TO_XYZ, dtype=torch.float64)).to(lab.dtype).to(lab.device)
    return linear_to_srgb(_mix(xyz * white, inverse))


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """The gamma-coded gray value 0..1 of a neutral pixel of CIE L* 0..100, elementwise."""
    return linear_to_srgb(_f_inverse((lightness + 16) / 116)).clamp(0, 1)


def gray_to_lightness(gray: Tensor) -> Tensor:
    """CIE L* 0..100 of a neutral pixel of gamma-coded gray value 0..1, elementwise."""
    return 116 * _f(srgb_to_linear(gray)) - 16


def srgb_to_yuv(rgb: Tensor) -> Tensor:
    """Gamma-coded sRGB 0..1 to YUV, both ``(N, 3, H, W)``: Y (BT.601 luma) in 0..1, U and V in -0.5..0.5."""
    red, _, blue = rgb.unbind(1)
    luma = _mix(rgb, _matrix(LUMA601[None], rgb))[:, 0]
    return torch.stack((luma, (blue - luma) / _BLUE_RANGE, (red - luma) / _RED_RANGE), 1)


def yuv_to_srgb(yuv: Tensor) -> Tensor:
    """Undo ``srgb_to_yuv``; colours outside the gamut fall outside 0..1."""
    luma, u, v = yuv.unbind(1)
    red, blue = luma + _RED_RANGE * v, luma + _BLUE_RANGE * u
    green = (luma - _LUMA[0] * red - _LUMA[2] * blue) / _LUMA[1]
    return torch.stack((red, green, blue), 1)


def uv_to_chroma(uv: Tensor, lightness: Tensor) -> Tensor:
    """CIELAB a*, b* ``(N, 2, h, w)`` of UV ``(N, 2, h, w)`` on the gray of L* ``(N, 1, H, W)`` as its luma.

    RGB is clipped in between, as in an image that is written from YUV.
    """
    luma = lightness_to_gray(lightness)
    if luma.shape[-2:] != uv.shape[-2:]:
        luma = torch.nn.functional.interpolate(luma, size=uv.shape[-2:], mode="bilinear", align_corners=False)
    return srgb_to_lab(yuv_to_srgb(torch.cat((luma, uv), 1)).clamp(0, 1))[:, 1:]


def with_chroma(lightness: Tensor, chroma: Tensor) -> Tensor:
    """Join ``(N, 1, H, W)`` L* with ``(N, 2, h, w)`` chroma, upsampled bilinearly: sRGB ``(N, 3, H, W)``, unclipped."""
    if chroma.shape[-2:] != lightness.shape[-2:]:
        chroma = torch.nn.functional.interpolate(
            chroma, size=lightness.shape[-2:], mode="bilinear", align_corners=False
        )
    return lab_to_srgb(torch.cat((lightness, chroma), 1))


def encode_bins(ab: Tensor) -> Tensor:
    """Encode chroma ``(N, 2, H, W)`` as distributions ``(N, 313, H, W)`` over the ab bins; see ``bins.soft_encode``."""
    table = bins.candidates()
    centres = _constant(bins.ab_bins().centres, ab)
    points = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    cell = ((points - table.origin) / table.side).floor().long().clamp(0, table.cells - 1)
    near = torch.from_numpy(table.bins).to(ab.device)[cell[:, 0] * table.cells + cell[:, 1]]
    squares = (points[:, None] - centres[near]).square().sum(-1)
    squares, order = squares.topk(bins.NEIGHBOURS, largest=False, sorted=False)
    weights = (-squares / (2 * bins.SIGMA**2)).softmax(1)
    (n, _, height, width), many = ab.shape, len(centres)
    code = torch.zeros(n, height * width, many, dtype=ab.dtype, device=ab.device)
    code.view(-1, many).scatter_(1, near.gather(1, order), weights)
    return code.transpose(1, 2).reshape(n, many, height, width)


def annealed_mean(logits: Tensor, temperature: float = 0.38) -> Tensor:
    """Decode logits ``(N, 313, h, w)`` over the ab bins to chroma ``(N, 2, h, w)`` (Zhang et al. 2016, section 2.3).

    A ``temperature`` of 1 gives the mean of the distribution; towards 0 it approaches the mode.
    """
    centres = _constant(bins.ab_bins().centres, logits)
    return torch.nn.functional.conv2d((logits / temperature).softmax(1), centres.T[:, :, None, None])


def class_weight(target: Tensor, weights: Tensor) -> Tensor:
    """The weight ``(N, 1, h, w)`` of each pixel: its target's ``(N, 313, h, w)`` most likely class's."""
    return weights[target.argmax(1, keepdim=True)]


def histogram_weight(ab: Tensor, weights: Tensor) -> Tensor:
    """The weight ``(N, 1, h, w)`` of each pixel's chroma ``(N, 2, h, w)``, from ``bins.histogram_weights``."""
    row, column = (ab.floor().long() + bins.HISTOGRAM // 2).clamp(0, bins.HISTOGRAM - 1).unbind(1)
    return weights[row, column][:, None]


def _constant(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)
