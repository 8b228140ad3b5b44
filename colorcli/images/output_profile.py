"""The colour spaces that photographs are written in, sRGB by default, as ICC profiles (ICC.1:2001-04 matrix profiles).

The choice changes how colours are encoded, not the colours. Little CMS converts, at the output's bit depth.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import imagecodecs

from colorcli.errors import UsageError
from colorcli.images import icc
from colorcli.images.photo import Pixels
from colorcli.text import near

SRGB = "srgb"
_MAX_PROFILE = 1 << 24
# every profile's media white is D50. Each space: its description, its primaries as XYZ adapted to D50, and the exponent
# of its transfer function, or None for sRGB's. Sources: Adobe RGB (1998) 4.3.6; SMPTE RP 431-2 with sRGB's curve;
# ISO 22028-2 without its linear segment
_D50 = (0.9642, 1.0, 0.8249)
_Triple = tuple[float, float, float]
_SPACES: dict[str, tuple[str, tuple[_Triple, _Triple, _Triple], float | None]] = {
    "adobe-rgb": (
        "Compatible with Adobe RGB (1998)",
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
        563 / 256,
    ),
    "display-p3": (
        "Display P3",
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        None,
    ),
    "prophoto": (
        "ROMM RGB (ProPhoto)",
        ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
        461 / 256,
    ),
}
NAMES = (SRGB, *_SPACES)
"""The names that ``--output-profile`` takes."""


@dataclass(frozen=True)
class OutputProfile:
    """A colour space to write in: its name in records, for a file with the start of its SHA-256, and its profile."""

    name: str
    icc: bytes

    def encoded(self, strips: Iterator[Pixels]) -> Iterator[Pixels]:
        """sRGB-encoded strips ``(rows, W, 3)`` converted to this space, with the same dtype."""
        for strip in strips:
            yield cast(
                Pixels,
                imagecodecs.cms_transform(
                    strip, icc.srgb_profile(), self.icc, colorspace="rgb", outcolorspace="rgb", flags=icc.EXACT
                ),
            )


def output_profile(asked: str) -> OutputProfile | None:
    """The profile with a name or in a file; None for sRGB, which needs no conversion.

    Raises:
        UsageError: there is no such file, or it is not an RGB profile that colours can be converted to.
    """
    if asked.lower() == SRGB:
        return None
    if asked.lower() in _SPACES:
        return OutputProfile(asked.lower(), _built(*_SPACES[asked.lower()]))
    path = Path(asked)
    try:
        if path.stat().st_size > _MAX_PROFILE:
            raise UsageError(f"{path} is too large for an ICC profile.")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"There is no output profile or file '{asked}'{near(asked, NAMES)}") from error
    except OSError as error:
        raise UsageError(f"The profile {path} cannot be read: {error.strerror or error}.") from error
    if icc.color_space(content) != "RGB":
        raise UsageError(f"{path} is not an ICC profile of an RGB colour space.")
    try:
        icc.grid_through(content)
    except (imagecodecs.CmsError, ValueError) as error:
        raise UsageError(f"{path} is not a profile that colours can be converted to: {error}.") from error
    return OutputProfile(f"{path.name}@{hashlib.sha256(content).hexdigest()[:12]}", content)


def _built(name: str, primaries: tuple[_Triple, _Triple, _Triple], exponent: float | None) -> bytes:
    """A matrix profile, version 2.1, always the same bytes."""
    text = name.encode("ascii") + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    if exponent is None:
        codes = [round(65535 * _linear(code / 1023)) for code in range(1024)]
        curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *codes)
    else:
        curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))
    tags = [
        (b"desc", description),
        (b"cprt", b"text\0\0\0\0No copyright, use freely\0"),
        (b"wtpt", _xyz(_D50)),
        *((name, _xyz(value)) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)),
    ]
    shared = (b"rTRC", b"gTRC", b"bTRC")
    count = len(tags) + len(shared)
    at = 128 + 4 + 12 * count
    table, body = struct.pack(">I", count), b""
    for signature, content in (*tags, (shared[0], curve)):
        table += signature + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    # all three channels point to one curve
    table += b"".join(other + table[-8:] for other in shared[1:])
    head = bytearray(128)
    head[0:4] = struct.pack(">I", at + len(body))
    head[8:12] = b"\2\x10\0\0"
    head[12:24] = b"mntrRGB XYZ "
    head[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">3i", *(round(v * 65536) for v in _D50))
    return bytes(head) + table + body


def _xyz(values: _Triple) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def _linear(code: float) -> float:
    return code / 12.92 if code <= 0.04045 else float(((code + 0.055) / 1.055) ** 2.4)
