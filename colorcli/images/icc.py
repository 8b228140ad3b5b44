"""ICC profiles (ICC.1:2022): the sRGB profile that outputs carry, and converting inputs to sRGB by their own."""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from colorcli.color.spaces import linear_to_srgb
from colorcli.images.photo import Pixels

_STRIP_ROWS = 512
# cmsFLAGS_NOOPTIMIZE: otherwise Little CMS interpolates 16-bit codes in a coarse table, with errors of up to 2 delta E
EXACT = 0x0100
# a profile whose codes differ from sRGB's by less than this share of the range counts as sRGB
_SAME = 1.5 / 255


@cache
def srgb_profile() -> bytes:
    """A small sRGB profile (588 bytes), always the same bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # lcms writes the present time here
    return bytes(profile)


def color_space(profile: bytes | None) -> str | None:
    """The device colour space: ``GRAY``, ``RGB``, ``CMYK``, …; None if ``profile`` is not an ICC profile."""
    if profile is None or len(profile) < 132 or profile[36:40] != b"acsp":
        return None
    return profile[16:20].decode("ascii", "replace").strip()


def to_srgb(pixels: Pixels, profile: bytes | None, gamma: float | None = None) -> Pixels:
    """``pixels`` converted to sRGB, in place if possible.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, owned by the caller.
        profile: the file's ICC profile. If it cannot be read, or is for another number of channels, it is ignored and
            the codes are taken as sRGB, as viewers do.
        gamma: a PNG's encoding exponent, used if there is no profile.
    """
    space = color_space(profile)
    if profile is not None and space == "GRAY" and pixels.ndim == 2:
        curve = gray_curve(profile)
        return pixels if curve is None else _through(pixels, curve)
    if profile is not None and space == "RGB" and pixels.ndim == 3:
        return _rgb_to_srgb(pixels, profile)
    if space is None and gamma is not None and 0.2 <= gamma <= 1.2 and abs(gamma - 1 / 2.2) > 0.02:
        codes = np.linspace(0, 1, 65536)
        return _through(pixels, linear_to_srgb(codes ** (1 / gamma)))
    return pixels


def why_not_applied(profile: bytes | None, channels: int) -> str:
    """Why ``to_srgb`` takes the codes of an image of 1 or 3 channels as sRGB despite its profile; "" if it does not."""
    space = color_space(profile)
    if profile is None or (space == "CMYK" and channels == 3):  # CMYK becomes RGB when it is decoded
        return ""
    expected = "GRAY" if channels == 1 else "RGB"
    if space in ("GRAY", "RGB") and space != expected:
        said = f"it is for {'gray' if space == 'GRAY' else 'RGB'}, the picture is {'gray' if channels == 1 else 'RGB'}"
        return "" if channels == 1 and _can_transform(profile) and _is_srgb(profile) else said
    if space == expected and (_gray_response(profile) is not None if channels == 1 else _can_transform(profile)):
        return ""
    return "it is damaged, or of a kind that is not supported"


@lru_cache(maxsize=8)
def _can_transform(profile: bytes) -> bool:
    """Whether an RGB profile can be used and makes sense: black and white stay dark and light."""
    try:
        black, white = _transform(np.array([[[0] * 3, [65535] * 3]], np.uint16), profile)[0]
    except (imagecodecs.CmsError, ValueError):
        return False
    return bool(black.max() < 65535 // 2 < white.min())


@lru_cache(maxsize=8)
def gray_curve(profile: bytes) -> NDArray[np.floating] | None:
    """sRGB codes 0..1 for the 65,536 codes of a gray profile; None if its curve is sRGB's or cannot be read."""
    device = np.linspace(0, 1, 65536)
    response = _gray_response(profile)
    if response is None:
        return None
    if profile[20:24] == b"Lab ":
        lightness = np.clip(response, 0, 1) * 100
        cube = (lightness + 16) / 116
        response = np.where(lightness > 8, cube**3, lightness * 27 / 24389)
    curve = linear_to_srgb(np.clip(response, 0, 1))
    if curve[-1] - curve[0] < 0.1 or np.abs(curve - device).max() < 1e-3:
        return None
    return curve


def _gray_response(profile: bytes) -> NDArray[np.floating] | None:
    """Response to the 65,536 codes of a gray profile; None if it cannot be read."""
    tag = _tag(profile, b"kTRC")
    response = _response(tag, np.linspace(0, 1, 65536)) if tag else None
    return response if response is not None and np.all(np.isfinite(response)) else None


def _tag(profile: bytes, signature: bytes) -> bytes | None:
    count = min(struct.unpack_from(">I", profile, 128)[0], 256)
    for at in range(132, 132 + 12 * count, 12):
        if profile[at : at + 4] == signature and at + 12 <= len(profile):
            offset, size = struct.unpack_from(">II", profile, at + 4)
            data = profile[offset : offset + size]
            return data if len(data) == size and size >= 12 else None
    return None


def _response(tag: bytes, device: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """Linear response of a ``curv`` or ``para`` tag (ICC.1:2022, 10.6 and 10.18)."""
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count == 0:
            return device
        if 12 + 2 * count > len(tag):
            return None
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float64)
        if count == 1:
            return cast("NDArray[np.floating]", device ** (table[0] / 256))
        return cast("NDArray[np.floating]", np.interp(device, np.linspace(0, 1, count), table / 65535))
    if tag[:4] == b"para":
        return _parametric(tag, device)
    return None


def _parametric(tag: bytes, x: NDArray[np.floating]) -> NDArray[np.floating] | None:
    kind = struct.unpack_from(">H", tag, 8)[0]
    counts = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
    if kind not in counts or len(tag) < 12 + 4 * counts[kind]:
        return None
    p = [v / 65536 for v in struct.unpack_from(f">{counts[kind]}i", tag, 12)]
    g, a, b, c, d, e, f = p + [0.0] * (7 - len(p))
    if kind == 0:
        return cast("NDArray[np.floating]", x**g)
    if a == 0:
        return None
    if kind in (1, 2):
        offset = c if kind == 2 else 0.0
        return np.where(x >= -b / a, np.maximum(a * x + b, 0) ** g + offset, offset)
    extra, floor = (e, f) if kind == 4 else (0.0, 0.0)
    return np.asarray(np.where(x >= d, np.maximum(a * x + b, 0) ** g + extra, c * x + floor))


def _through(pixels: Pixels, curve: NDArray[np.floating]) -> Pixels:
    """Apply a curve of 65,536 samples over 0..1 to codes, strip by strip and in place."""
    top = 255 if pixels.dtype == np.uint8 else 65535
    table = np.rint(curve[:: 65535 // top] * top).astype(pixels.dtype)
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    for y in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = pixels[y : y + _STRIP_ROWS]
        strip[...] = table[strip]
    return pixels


def _rgb_to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    if not _can_transform(profile) or _is_srgb(profile):
        return pixels
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    for y in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = np.ascontiguousarray(pixels[y : y + _STRIP_ROWS])
        pixels[y : y + _STRIP_ROWS] = _transform(strip, profile)
    return pixels


def _transform(pixels: Pixels, profile: bytes) -> Pixels:
    flags = EXACT if pixels.dtype == np.uint16 else None
    return cast(
        Pixels,
        imagecodecs.cms_transform(pixels, profile, srgb_profile(), colorspace="rgb", outcolorspace="rgb", flags=flags),
    )


@lru_cache(maxsize=8)
def _is_srgb(profile: bytes) -> bool:
    """Whether the profile maps a grid of codes to themselves: a profile's name proves nothing."""
    grid = _grid()
    difference = np.abs(_transform(grid, profile).astype(np.int32) - grid.astype(np.int32))
    return bool(difference.max() <= _SAME * 65535)


def _grid() -> NDArray[np.uint16]:
    axis = np.linspace(0, 65535, 9).astype(np.uint16)
    return np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(27, 27, 3)


def grid_through(profile: bytes) -> None:
    """Convert a grid of sRGB codes to a profile's space, as a test. Raises ``imagecodecs.CmsError`` if that fails."""
    imagecodecs.cms_transform(_grid(), srgb_profile(), profile, colorspace="rgb", outcolorspace="rgb")
