"""IPTC-IIM datasets inside Photoshop image resources (Adobe Photoshop file formats, "Image resources")."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PHOTOSHOP = b"Photoshop 3.0\0"
TAG_MARKER = b"\x1c"  # first byte of every dataset
_IPTC = 0x0404
# resources that mean something to people (Photoshop file formats, table of image resource IDs)
_PATHS = range(2000, 2998)
_SPOKEN = {2999: "the name of the clipping path"}


def from_photoshop(resources: bytes) -> bytes | None:
    """The IPTC datasets in a run of image resources (without the ``Photoshop 3.0`` prefix), or None."""
    return next((data for number, data in _walk(resources) if number == _IPTC and data), None)


def _walk(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each complete resource."""
    at = 0
    while at + 12 <= len(resources) and resources[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
        number, name_length = struct.unpack_from(">HB", resources, at + 4)
        at += 6 + (name_length + 2) // 2 * 2
        if at + 4 > len(resources):
            return
        size = struct.unpack_from(">I", resources, at)[0]
        data = resources[at + 4 : at + 4 + size]
        if len(data) == size:
            yield number, data
        at += 4 + size + size % 2


def other_resources(resources: bytes) -> list[str]:
    """Names of what a run of image resources holds for people besides IPTC datasets, none of which is kept."""
    found = []
    for number, _ in _walk(resources):
        if number in _PATHS:
            found.append("clipping paths")
        elif number in _SPOKEN:
            found.append(_SPOKEN[number])
    return found


def photoshop_resource(datasets: bytes) -> bytes:
    """The datasets as the content of JPEG's APP13 segment."""
    padding = b"\0" * (len(datasets) % 2)
    return PHOTOSHOP + b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(datasets)) + datasets + padding
