"""IPTC-IIM datasets inside Photoshop image resources (Adobe Photoshop file formats, "Image resources")."""

from __future__ import annotations

import struct

PHOTOSHOP = b"Photoshop 3.0\0"
TAG_MARKER = b"\x1c"  # every dataset begins with it
_IPTC = 0x0404


def from_photoshop(resources: bytes) -> bytes | None:
    """The IPTC datasets in a run of image resources (without the ``Photoshop 3.0`` prefix), or None."""
    at = 0
    while at + 12 <= len(resources) and resources[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
        number, name_length = struct.unpack_from(">HB", resources, at + 4)
        at += 6 + (name_length + 2) // 2 * 2
        if at + 4 > len(resources):
            return None
        size = struct.unpack_from(">I", resources, at)[0]
        data = resources[at + 4 : at + 4 + size]
        if number == _IPTC and len(data) == size and data:
            return data
        at += 4 + size + size % 2
    return None


def photoshop_resource(datasets: bytes) -> bytes:
    """The datasets as the content of JPEG's APP13 segment."""
    padding = b"\0" * (len(datasets) % 2)
    return PHOTOSHOP + b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(datasets)) + datasets + padding
