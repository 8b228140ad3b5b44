"""Formats that have no reader of our own, read by imageio: only those listed in ``formats``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from colorcli.images import exif, formats, strict_foreign
from colorcli.images.photo import (
    LIBRARY_ERRORS,
    Decoded,
    Header,
    Pixels,
    UnreadableError,
    left_out_note,
    missing_note,
)
from colorcli.images.source import Source

# The suffix that makes imageio choose a format; everything else that Pillow could open is refused before it is opened.
_EXTENSIONS = {"BMP": ".bmp", "GIF": ".gif", "AVIF": ".avif"}


def header(source: Source) -> Header:
    """Size and depth, without decoding a pixel."""
    strict_foreign.check_capacity(source)
    with _opened(source) as file:
        facts = file.metadata(exclude_applied=False)
        width, height = facts["shape"]
        return Header(int(width), int(height), 16 if str(facts.get("mode", "")).startswith("I;16") else 8)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The first image and its metadata. Raises ``UnreadableError``."""
    missing = strict_foreign.missing_share(source)
    if missing and not salvage:
        raise UnreadableError(
            f"is cut off or damaged: {100 * missing:.3g} % of the picture is missing; --salvage colours what is left"
        )
    if missing:
        source = Source(strict_foreign.filled_up(source))
    with _opened(source) as file:
        facts = file.metadata(exclude_applied=False)
        several = _has_several(file)
        array = np.asarray(file.read(index=0, rotate=False))
    pixels, alpha = _apart(array)
    return Decoded(
        pixels,
        alpha,
        exif=exif.strip_prefix(_bytes(facts.get("exif"))),
        xmp=_bytes(facts.get("xmp")),
        icc=_bytes(facts.get("icc_profile")),
        notes=(
            *((missing_note(missing),) if missing else ()),
            *left_out_note(("a comment",) if facts.get("comment") else ()),
            *(("only the first frame of an animation was read",) if several else ()),
        ),
    )


def _has_several(file: Any) -> bool:
    """Whether there are frames after the first, be they damaged."""
    try:
        return bool((file.properties(index=...).n_images or 1) > 1)
    except LIBRARY_ERRORS:
        return True


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    """imageio's reader of the file, with its errors turned into ``UnreadableError``."""
    record = formats.format_of_content(source.read(0, 32))
    if record is None or record.name not in _EXTENSIONS:
        raise UnreadableError("has a format that is not supported")
    try:
        with imageio.imopen(source.whole(), "r", plugin="pillow", extension=_EXTENSIONS[record.name]) as file:
            yield file
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"is a {record.label} of more than 178 megapixels, which is not supported") from error
    except UnreadableError:
        raise
    except LIBRARY_ERRORS as error:
        # imageio says only that it could not open the file; the reason is Pillow's error, its cause, if it has one
        reason = str(error.__cause__ or error).rstrip(".")
        if "can not read the provided bytes" in reason:
            reason = "it is damaged, or of a kind that is not supported"
        raise UnreadableError(f"cannot be decoded: {reason}") from error


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) and value else None


def _apart(array: np.ndarray[Any, Any]) -> tuple[Pixels, Pixels | None]:
    """Colour and alpha; alpha is None if everything is opaque."""
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3):
        raise UnreadableError(f"holds {array.dtype} samples, which is not supported")
    if array.ndim == 2 or array.shape[2] == 3:
        return cast(Pixels, np.ascontiguousarray(array)), None
    alpha = np.ascontiguousarray(array[..., -1])
    color = np.ascontiguousarray(array[..., 0] if array.shape[2] == 2 else array[..., :3])
    return cast(Pixels, color), None if alpha.min() == np.iinfo(alpha.dtype).max else cast(Pixels, alpha)
