"""HEIF photographs (ISO/IEC 23008-12), decoded by libheif through pillow-heif, if installed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from colorcli.environment import needs
from colorcli.images import exif
from colorcli.images.photo import LIBRARY_ERRORS, Decoded, Header, Pixels, UnreadableError
from colorcli.images.source import Source


def header(source: Source) -> Header:
    """Size and depth, without decoding a pixel; upright, since libheif applies rotations itself."""
    with _opened(source) as file:
        width, height = file.size
        return Header(int(width), int(height), 16 if _is_deep(file) else 8)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The primary image and its metadata. Raises ``UnreadableError``."""
    del salvage  # libheif either decodes a file or does not
    with _opened(source) as file:
        array = np.asarray(file)
        facts, several = dict(file.info), len(file)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        alpha = np.ascontiguousarray(array[..., -1])
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]
        kept = None if alpha.min() == np.iinfo(alpha.dtype).max else cast(Pixels, alpha)
    else:
        kept = None
    return Decoded(
        cast(Pixels, np.ascontiguousarray(array)),
        kept,
        exif=exif.strip_prefix(facts.get("exif")),
        xmp=facts.get("xmp") or None,
        icc=facts.get("icc_profile") or None,
        orientation=1,
        notes=("only the primary picture of several was read",) if several > 1 else (),
    )


def _is_deep(file: Any) -> bool:
    return str(file.mode).endswith(";16")


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadableError(f"is a HEIF file, which {needs('pillow-heif', 'heif')}") from error
    try:
        file = pillow_heif.open_heif(io.BytesIO(source.whole()), convert_hdr_to_8bit=False)
        yield _filled(file)
    except UnreadableError:
        raise
    except LIBRARY_ERRORS as error:
        reason = " ".join(str(error).split()).rstrip(".")  # libheif ends some of its sentences with a line break
        raise UnreadableError(f"cannot be decoded: {reason}") from error


def _filled(file: Any) -> Any:
    """The file, unless there is nothing in it. Raises ``UnreadableError``."""
    if not len(file):
        raise UnreadableError("holds no picture of a kind that libheif can decode")
    return file
