"""What an image file claims of its own making, whichever program made it: XMP, EXIF, texts, Content Credentials.

A claim is what the file says; only a valid signature makes it more than that. Nothing here decodes a pixel. Whatever is
read is the word of a stranger: it is cut short, and printed only through ``text.printable``.
"""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

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
    "humanEdits": "edited by a person with tools that are not generative",
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
    "composite": "put together from several sources",
    "compositeCapture": "put together from several captures",
    "compositeSynthetic": "put together, with synthetic parts",
}
"""IPTC's digital source types in words (cv.iptc.org/newscodes/digitalsourcetype)."""

_EXIF = {0x010E: "ImageDescription", 0x0131: "Software", 0x013B: "Artist", 0x8298: "Copyright"}
_TEXTS = ("Software", "parameters", "prompt", "workflow", "Description", "Comment", "sd-metadata", "invokeai_metadata")
# of programs that generate pictures; each writes its own
_GENERATORS = {"parameters", "prompt", "workflow", "sd-metadata", "invokeai_metadata"}
_MOST_TEXT = 300
_MOST_PACKETS = 8
_MOST_PACKET = 1 << 24
_OPEN, _CLOSE = b"<x:xmpmeta", b"</x:xmpmeta>"
_C2PA = b"jumdc2pa"


@dataclass(frozen=True)
class Claims:
    """What a file says of itself.

    Attributes:
        path: the file; its ``size`` in bytes, its ``format`` and hexadecimal ``sha256``.
        statements: of its XMP packets.
        exif: values of EXIF tags by name; ``texts`` of PNG chunks and comments.
        credentials: its Content Credentials, where they can be read; otherwise ``credentials_note`` says why they
            cannot, and is empty where there are none.
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
        """Every digital source type that is claimed, by its code, in XMP or in Content Credentials."""
        found = [s.digital_source_type for s in self.statements]
        if self.credentials is not None:
            found += [source for _, source in self.credentials.actions]
        return tuple(dict.fromkeys(source.rstrip("/").rpartition("/")[2] for source in found if source))

    @property
    def is_ours(self) -> bool:
        """Whether it carries the label of a picture that colorcli has coloured."""
        return any("colorcli" in s.ai_system for s in self.statements)


def read_claims(path: Path, trusted: bytes | None = None) -> Claims:
    """What a file claims of itself; ``trusted`` as for ``credentials.read_credentials``.

    Raises:
        PhotoError: the file cannot be read, or is no image.
    """
    try:
        if not path.is_file():
            raise PhotoError(f"{printable(str(path))} is not a regular file.")
        size, sha256 = path.stat().st_size, file_sha256(path)
        with path.open("rb") as file:
            form = format_of_content(file.read(32))
            if form is None:
                raise PhotoError(f"{printable(str(path))} is no image of a known format.")
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
    return SOURCE_TYPES.get(source_type, f"of an unknown sort, {source_type!r}")


def generator_texts(claims: Claims) -> list[str]:
    """Names of the texts that programs which generate pictures leave."""
    return sorted(_GENERATORS & set(claims.texts))


def _credentials(path: Path, trusted: bytes | None) -> tuple[Credentials | None, str]:
    if not credentials.is_available():
        return None, "there are some, and reading them needs the c2pa library: pip install 'colorcli[c2pa]'"
    try:
        return credentials.read_credentials(path, trusted), ""
    except PhotoError as error:
        return None, str(error)


def _packets(content: mmap.mmap) -> Iterator[bytes]:
    """XMP packets as they lie in the file (ISO 16684-1, packet scanning), in whatever format."""
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
    """EXIF, texts, and an XMP packet that may lie compressed; as much as there is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                tags = image.getexif()
                exif = {name: _short(tags[tag]) for tag, name in _EXIF.items() if tags.get(tag)}
                texts = {str(key): _short(value) for key, value in image.info.items() if key in _TEXTS and value}
                packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    except Exception:  # of a damaged file whatever Pillow raises: the rest is what there is
        return {}, {}, None
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return exif, texts, packet if isinstance(packet, bytes) else None


def _short(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text.strip("\0 ")
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
