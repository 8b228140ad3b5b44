"""What an image file claims about how it was made, by any program: XMP, EXIF, texts and Content Credentials.

A claim is only what the file says, unless a valid signature backs it. No pixels are decoded. Nothing that is read can
be trusted: it is truncated, and printed only through ``text.printable``.
"""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from colorcli.environment import needs
from colorcli.errors import PhotoError
from colorcli.files import file_sha256
from colorcli.images import credentials
from colorcli.images.credentials import Credentials
from colorcli.images.formats import format_of_content
from colorcli.images.provenance import Statement, read_packet
from colorcli.text import printable

SOURCE_TYPES = {
    "digitalCapture": "captured from real life by a digital camera or recorder",
    "computationalCapture": "captured from real life, and computed from several exposures",
    "negativeFilm": "digitized from a negative",
    "positiveFilm": "digitized from a positive",
    "print": "digitized from a print or another non-transparent medium",
    "humanEdits": "edited by a person with non-generative tools",
    "minorHumanEdits": "edited slightly by a person",
    "compositeWithTrainedAlgorithmicMedia": "partly made by a trained network (AI)",
    "algorithmicallyEnhanced": "enhanced by an algorithm",
    "softwareImage": "made by software",
    "digitalArt": "made by a person with software",
    "digitalCreation": "made by a person with software",
    "dataDrivenMedia": "drawn from data",
    "trainedAlgorithmicMedia": "made by a trained network (AI)",
    "algorithmicMedia": "made by an algorithm without training data",
    "screenCapture": "captured from a screen",
    "virtualRecording": "recorded in a virtual world",
    "composite": "combined from several sources",
    "compositeCapture": "combined from several captures",
    "compositeSynthetic": "combined from several sources, some of them synthetic",
}
"""IPTC's digital source types in words (cv.iptc.org/newscodes/digitalsourcetype)."""

_EXIF = {0x010E: "ImageDescription", 0x0131: "Software", 0x013B: "Artist", 0x8298: "Copyright"}
_TEXTS = ("Software", "parameters", "prompt", "workflow", "Description", "Comment", "sd-metadata", "invokeai_metadata")
# written by image generators, each by a different one
_GENERATORS = {"parameters", "prompt", "workflow", "sd-metadata", "invokeai_metadata"}
_MOST_TEXT = 300
_MOST_PACKETS = 8
_MOST_PACKET = 1 << 24
_OPEN, _CLOSE = b"<x:xmpmeta", b"</x:xmpmeta>"
_C2PA = b"jumdc2pa"


@dataclass(frozen=True)
class Claims:
    """What a file says about itself.

    Attributes:
        path: the file.
        size: its size in bytes.
        format: name of its format.
        sha256: its hexadecimal SHA-256.
        statements: what its XMP packets say, one statement per packet.
        exif: values of EXIF tags by name.
        texts: PNG text chunks and comments by keyword.
        credentials: its Content Credentials, or None if there are none or they cannot be read.
        credentials_note: why they cannot be read; empty if they can, or if there are none.
    """

    path: Path
    size: int
    format: str
    sha256: str
    statements: tuple[Statement, ...] = ()
    exif: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    credentials: Credentials | None = None
    credentials_note: str = ""

    @property
    def source_types(self) -> tuple[str, ...]:
        """Codes of all digital source types claimed in XMP or in Content Credentials."""
        found = [s.digital_source_type for s in self.statements]
        if self.credentials is not None:
            found += [source for _, source in self.credentials.actions]
        return tuple(dict.fromkeys(source.rstrip("/").rpartition("/")[2] for source in found if source))

    @property
    def is_ours(self) -> bool:
        """Whether it carries the label that colorcli puts on what it has coloured."""
        return any("colorcli" in s.ai_system for s in self.statements)


def read_claims(path: Path, trusted: bytes | None = None) -> Claims:
    """What a file claims of itself; ``trusted`` as for ``credentials.read_credentials``.

    Raises:
        PhotoError: the file cannot be read, or is not an image.
    """
    try:
        if not path.is_file():
            raise PhotoError(
                f"{printable(str(path))} {'is not a regular file' if path.exists() else 'does not exist'}."
            )
        size, sha256 = path.stat().st_size, file_sha256(path)
        with path.open("rb") as file:
            form = format_of_content(file.read(32))
            if form is None:
                raise PhotoError(f"{printable(str(path))} is not an image in a known format.")
            file.seek(0)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                packets = list(_packets(content))
                has_credentials = content.find(_C2PA) >= 0
        exif, texts, packet = _with_pillow(path)
    except OSError as error:
        raise PhotoError(f"{printable(str(path))} cannot be read: {error.strerror or error}.") from error
    found = [statement for one in dict.fromkeys([*packets, packet]) if one and (statement := read_packet(one))]
    made, note = _credentials(path, trusted) if has_credentials else (None, "")
    return Claims(path, size, form.name, sha256, tuple(dict.fromkeys(found)), exif, texts, made, note)


def in_words(source_type: str) -> str:
    """A digital source type's code in words."""
    return SOURCE_TYPES.get(source_type, f"of an unknown type, {source_type!r}")


def generator_texts(claims: Claims) -> list[str]:
    """Keywords of the texts that image generators leave in a file."""
    return sorted(_GENERATORS & set(claims.texts))


def _credentials(path: Path, trusted: bytes | None) -> tuple[Credentials | None, str]:
    if not credentials.is_available():
        return None, f"present, but reading them {needs('c2pa-python', 'c2pa')}"
    try:
        return credentials.read_credentials(path, trusted), ""
    except PhotoError as error:
        return None, str(error)


def _packets(content: mmap.mmap) -> Iterator[bytes]:
    """XMP packets found by scanning a file of any format (ISO 16684-1, packet scanning)."""
    at = 0
    for _ in range(_MOST_PACKETS):
        start = content.find(_OPEN, at)
        end = content.find(_CLOSE, start) if start >= 0 else -1
        if end < 0:
            return
        at = end + len(_CLOSE)
        if at - start <= _MOST_PACKET:
            yield content[start:at]


def _with_pillow(path: Path) -> tuple[dict[str, str], dict[str, str], bytes | None]:
    """EXIF values, texts and an XMP packet, which scanning misses if it is compressed; whatever can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                tags = image.getexif()
                exif = {name: _short(tags[tag]) for tag, name in _EXIF.items() if tags.get(tag)}
                texts = {str(key): _short(value) for key, value in image.info.items() if key in _TEXTS and value}
                packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    except Exception:  # Pillow raises many types on damaged files; the file's other claims can still be shown
        return {}, {}, None
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return exif, texts, packet if isinstance(packet, bytes) else None


def _short(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text.strip("\0 ")
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
