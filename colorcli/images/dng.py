"""Camera raw photographs in DNG (Adobe DNG 1.7), developed by LibRaw through rawpy, if installed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from colorcli.environment import needs
from colorcli.images import exif
from colorcli.images.photo import LIBRARY_ERRORS, Decoded, Header, UnreadableError
from colorcli.images.source import Source

_DNG_VERSION, _XMP = 50706, 700
_SRGB_CURVE = (2.4, 12.92)
_TURNED = (5, 6)  # LibRaw's codes for quarter turns


def is_dng(source: Source) -> bool:
    """Whether a file with a TIFF signature is a DNG."""
    reader = exif.TiffReader.open(source)
    return reader is not None and any(slot.tag == _DNG_VERSION for slot in reader.slots(reader.first)[0])


def header(source: Source) -> Header:
    """Size and depth of the developed, upright image, without decoding a pixel."""
    with _opened(source) as raw:
        sizes = raw.sizes
        width, height = (sizes.height, sizes.width) if sizes.flip in _TURNED else (sizes.width, sizes.height)
        return Header(int(width), int(height), 16)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The developed image and its metadata. Raises ``UnreadableError``."""
    del salvage  # LibRaw either decodes a file or does not
    import rawpy

    with _opened(source) as raw:
        pixels = raw.postprocess(
            output_bps=16,
            use_camera_wb=True,
            no_auto_bright=True,
            gamma=_SRGB_CURVE,
            output_color=rawpy.ColorSpace.sRGB,
        )
    reader = exif.TiffReader.open(source)
    block = xmp = None
    if reader is not None:
        tree = exif.Exif.of(reader)
        wanted = exif.DESCRIPTIVE_TAGS | {exif.EXIF_IFD, exif.GPS_IFD}
        tree.main = {tag: entry for tag, entry in tree.main.items() if tag in wanted}
        block = tree.block()
        xmp = next((reader.raw(slot) for slot in reader.slots(reader.first)[0] if slot.tag == _XMP), None)
    return Decoded(
        np.ascontiguousarray(pixels),
        exif=block,
        xmp=xmp,
        orientation=1,
        notes=("camera raw: developed with the camera's white balance and no other correction",),
    )


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    try:
        import rawpy
    except ImportError as error:
        raise UnreadableError(f"is a camera's DNG, which {needs('rawpy', 'dng')}") from error
    try:
        with rawpy.imread(io.BytesIO(source.whole())) as raw:
            yield raw
    except (rawpy.LibRawError, *LIBRARY_ERRORS) as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
