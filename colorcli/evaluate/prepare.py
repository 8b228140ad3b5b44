"""Originals prepared by a protocol: 8-bit RGB at its size, and the gray version."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.spaces import LUMA601, LUMINANCE, code_values, linear_to_srgb, srgb_to_linear
from colorcli.errors import PhotoError
from colorcli.evaluate.data import Item, decode
from colorcli.evaluate.protocols import GrayRule, Protocol
from colorcli.images.photo import Pixels
from colorcli.images.resize import width_first
from colorcli.images.tiles import Windows
from colorcli.networks.size import SizeRule
from colorcli.pipeline.coloring import prepare as windows_of

Rgb8 = NDArray[np.uint8]
Gray8 = NDArray[np.uint8]

PANCHROMATIC = (0.25, 0.35, 0.40)
ORTHOCHROMATIC = (0.0, 0.35 / 0.75, 0.40 / 0.75)


@dataclass(frozen=True)
class ProtocolImage:
    """A photograph ready to be coloured and compared.

    Attributes:
        name: of the photograph.
        sha256: of its file.
        original: at the protocol's size, uint8 ``(H, W, 3)``.
        gray: the original by the protocol's gray rule, uint8 ``(H, W)``.
        other: another tool's colouring at that size, where pairs are scored.
        windows: the gray photograph at the network's working size, by size rule.
        seconds: time that preparing took.
        label: ImageNet class; -1 where unknown.
        likely: classes of the gray photograph, the likeliest first, where asked for.
    """

    name: str
    sha256: str
    original: Rgb8
    gray: Gray8
    other: Rgb8 | None
    windows: dict[SizeRule, Windows]
    seconds: float
    label: int = -1
    likely: tuple[int, ...] = ()


def prepare(item: Item, protocol: Protocol, rules: Iterable[SizeRule]) -> ProtocolImage:
    """Read a photograph and resize it by the protocol, in colour and in gray.

    Raises:
        PhotoError: it cannot be read, is gray, or has another size than its colouring.
    """
    start = time.perf_counter()
    photo, sha256 = decode(item.read(), item.name)
    if photo.kind == "gray":
        raise PhotoError("is gray, so there is no colour to compare with")
    whole, other = to_rgb8(photo.pixels), None
    if item.other is not None:
        colored = to_rgb8(decode(item.other(), item.name)[0].pixels)
        if colored.shape != whole.shape:
            raise PhotoError(
                f"its colouring has {colored.shape[1]} x {colored.shape[0]} pixels and the original "
                f"{whole.shape[1]} x {whole.shape[0]}; only pictures of one size can be compared"
            )
        other = fit(colored, protocol)
    original = fit(whole, protocol)
    gray = to_gray(original, protocol.gray)
    seen = {rule: windows_of(gray, rule) for rule in rules}
    return ProtocolImage(item.name, sha256, original, gray, other, seen, time.perf_counter() - start, item.label)


def to_rgb8(pixels: Pixels) -> Rgb8:
    """Pixels ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, as 8-bit RGB ``(H, W, 3)``, rounded."""
    if pixels.dtype == np.uint16:
        # (v + 128) // 257 is v / 257 rounded, without leaving integers.
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(rgb, np.uint8)


def fit(rgb: Rgb8, protocol: Protocol) -> Rgb8:
    """Resize and crop an image ``(H, W, 3)`` by the protocol.

    ``crop``: the short side becomes ``size`` (the long one rounded), then the centre is cut out, the odd pixel on the
    right and below being dropped; ``stretch``: both sides become ``size``; ``native``: unchanged.
    """
    if protocol.fit == "native":
        return rgb
    size, height, width = protocol.size, rgb.shape[0], rgb.shape[1]
    method = Image.Resampling[protocol.interpolation.upper()]
    if protocol.fit == "stretch":
        return np.asarray(width_first(Image.fromarray(rgb), size, size, method))
    scale = size / min(height, width)
    scaled = (max(size, round(width * scale)), max(size, round(height * scale)))
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    resized = np.asarray(width_first(Image.fromarray(rgb), *scaled, method))
    return np.ascontiguousarray(resized[top : top + size, left : left + size])


def to_gray(rgb: Rgb8, rule: GrayRule) -> Gray8:
    """Turn a colour image ``(H, W, 3)`` gray: ``(H, W)``, 8 bits, sRGB-encoded.

    ``lightness``: the gray that has each pixel's CIE L*. ``luma601``: 0.299 R + 0.587 G + 0.114 B of the encoded
    values (ITU-R BT.601), as most papers do. ``panchromatic``: what film sensitive to all colours records, 0.25 R +
    0.35 G + 0.40 B of linear light (the usual channel mix for Kodak Tri-X 400, which sees more blue than the eye).
    ``orthochromatic``: the same emulsion without its red-sensitizing dye, so G and B in the same ratio and no R. Both
    are rough: real films differ among themselves, and spectra are not known from RGB.
    """
    if rule == "luma601":
        return np.asarray(np.rint(rgb @ LUMA601), np.uint8)
    linear = srgb_to_linear(code_values(8))[rgb]
    if rule == "lightness":
        luminance = linear @ LUMINANCE
    else:
        luminance = linear @ np.array(PANCHROMATIC if rule == "panchromatic" else ORTHOCHROMATIC)
    return _encoded(luminance)


def _encoded(luminance: NDArray[np.floating[Any]]) -> Gray8:
    return np.asarray(np.rint(np.clip(linear_to_srgb(luminance), 0, 1) * 255), np.uint8)
