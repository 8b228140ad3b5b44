"""The colour formulas of ``colorcli.color.spaces`` for torch tensors, used by networks, losses and exports.

All images are ``(N, 3, H, W)``; L* is 0..100, a* and b* are CIELAB units, sRGB is 0..1. D65, 2 degree observer.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_EPSILON = 0.008856
_KAPPA_SLOPE = 7.787
_TINY = 1e-8


def _matrix(rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
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
    return torch.where(t > _EPSILON, t.clamp_min(_EPSILON) ** (1 / 3), _KAPPA_SLOPE * t + 16 / 116)


def _f_inverse(t: Tensor) -> Tensor:
    return torch.where(t > 0.2068966, t**3, (t - 16 / 116) / _KAPPA_SLOPE)


def srgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB 0..1 to CIELAB, ``(N, 3, H, W)`` to ``(N, 3, H, W)``."""
    white = torch.tensor(_WHITE, dtype=rgb.dtype, device=rgb.device).view(1, 3, 1, 1)
    x, y, z = _f(_mix(srgb_to_linear(rgb), _matrix(_RGB_TO_XYZ, rgb)) / white).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def lab_to_srgb(lab: Tensor) -> Tensor:
    """CIELAB to sRGB, ``(N, 3, H, W)`` to ``(N, 3, H, W)``; colours outside the gamut fall outside 0..1."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    xyz = torch.stack((_f_inverse(y + a / 500), _f_inverse(y), _f_inverse(y - b / 200)), 1)
    white = torch.tensor(_WHITE, dtype=lab.dtype, device=lab.device).view(1, 3, 1, 1)
    inverse = torch.linalg.inv(torch.tensor(_RGB_TO_XYZ, dtype=torch.float64)).to(lab.dtype).to(lab.device)
    return linear_to_srgb(_mix(xyz * white, inverse))


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """The gamma-coded gray value 0..1 of a neutral pixel of CIE L* 0..100, elementwise."""
    return linear_to_srgb(_f_inverse((lightness + 16) / 116)).clamp(0, 1)


def gray_to_lightness(gray: Tensor) -> Tensor:
    """CIE L* 0..100 of a neutral pixel of gamma-coded gray value 0..1, elementwise."""
    return 116 * _f(srgb_to_linear(gray)) - 16


def with_chroma(lightness: Tensor, chroma: Tensor) -> Tensor:
    """Join ``(N, 1, H, W)`` L* with ``(N, 2, h, w)`` chroma, upsampled bilinearly: sRGB ``(N, 3, H, W)``, unclipped."""
    if chroma.shape[-2:] != lightness.shape[-2:]:
        chroma = torch.nn.functional.interpolate(
            chroma, size=lightness.shape[-2:], mode="bilinear", align_corners=False
        )
    return lab_to_srgb(torch.cat((lightness, chroma), 1))
