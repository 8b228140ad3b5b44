"""The label that says how an output was made: an XMP packet (ISO 16684-1), merged into the photograph's own.

Terms: IPTC Photo Metadata Standard 2025.1 (digital source type, AI system used) and XMP Media Management.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.dom import Node, minidom
from xml.parsers import expat

from colorcli.text import printable

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP_MM = "http://ns.adobe.com/xap/1.0/mm/"
ST_REF = "http://ns.adobe.com/xap/1.0/sType/ResourceRef#"
ST_EVT = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
XMP_NOTE = "http://ns.adobe.com/xmp/note/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_X = "adobe:ns:meta/"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_PREFIXES = {
    "rdf": RDF, "Iptc4xmpExt": IPTC_EXT, "xmpMM": XMP_MM, "stRef": ST_REF, "stEvt": ST_EVT
}  # fmt: skip
_MAX_PACKET = 1 << 24
# how a packet in UTF-32 or UTF-16 begins: with a byte order mark, or with "<"; UTF-32's are longer, so they come first
_ENCODINGS = {
    start.encode(name): name for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be") for start in "\ufeff<"
}
_DECLARATION = re.compile(r"<\?xml\s[^>]*>")  # which names the former encoding
_MOST_EVENTS = 20

_REPLACED = frozenset(
    (
        (IPTC_EXT, "DigitalSourceType"),
        (IPTC_EXT, "AISystemUsed"),
        (IPTC_EXT, "AISystemVersionUsed"),
        (XMP_MM, "DerivedFrom"),
        (XMP_MM, "InstanceID"),
        (XMP_MM, "DocumentID"),
    )
)
_IDENTIFIERS: dict[tuple[str | None, str | None], str] = {
    (XMP_MM, name): name for name in ("InstanceID", "DocumentID", "OriginalDocumentID")
}
# true of the gray original, no longer true of the coloured image
_STALE = frozenset(
    (
        (XMP, "Thumbnails"),
        (XMP_NOTE, "HasExtendedXMP"),
        (PHOTOSHOP, "ICCProfile"),
        (PHOTOSHOP, "ColorMode"),
        (TIFF, "PhotometricInterpretation"),
        (TIFF, "SamplesPerPixel"),
        (TIFF, "BitsPerSample"),
        (TIFF, "Compression"),
        (TIFF, "ImageWidth"),
        (TIFF, "ImageLength"),
        (EXIF, "ColorSpace"),
        (EXIF, "PixelXDimension"),
        (EXIF, "PixelYDimension"),
    )
)


@dataclass(frozen=True)
class Provenance:
    """What an image was made with, and from what.

    Attributes:
        model: exact name of the model, such as ``bigcolor@lite``.
        version: the model's version.
        weights_sha256: hexadecimal SHA-256 of the weights.
        software: name and version, such as ``colorcli 0.1.0``.
        parameters: the parameters of the run; anything JSON can hold.
        input_name: name of the input, relative to the folder that was coloured.
        input_sha256: hexadecimal SHA-256 of the input file.
        when: time of the colouring in ISO 8601; empty leaves it out, so that equal results have equal bytes.
    """

    model: str
    version: str
    weights_sha256: str
    software: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    input_name: str = ""
    input_sha256: str = ""
    when: str = ""


def provenance_packet(provenance: Provenance, existing_xmp: bytes | None = None) -> bytes:
    """A UTF-8 XMP packet with the label and the properties of the existing packet.

    Properties that were true of the gray original only are dropped; the history gets one more entry. An existing packet
    is ignored if it is not well-formed, has a document type (and so might define entities), or is larger than 16 MB.

    Args:
        provenance: what to state.
        existing_xmp: the photograph's own packet.
    """
    document = _parse(existing_xmp) or _parse(_EMPTY)
    assert document is not None
    root = _rdf(document)
    assert root is not None
    existing = _descriptions(root)
    former = _remove_outdated(existing)
    instance = _instance(provenance)
    label = _element(document, root, RDF, "Description")
    for prefix, namespace in _PREFIXES.items():
        label.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
    about = next((d.getAttributeNS(RDF, "about") for d in existing if d.hasAttributeNS(RDF, "about")), "")
    label.setAttributeNS(RDF, "rdf:about", about)
    _text(document, label, IPTC_EXT, "DigitalSourceType", DIGITAL_SOURCE_TYPE)
    _text(document, label, IPTC_EXT, "AISystemUsed", f"{provenance.model} ({provenance.software})")
    _text(document, label, IPTC_EXT, "AISystemVersionUsed", provenance.version)
    _identify(document, label, instance, former)
    _derived_from(document, label, provenance, former)
    _add_to_history(document, existing, label, provenance, instance)
    if document.documentElement is not None:
        _drop_blank_text(document.documentElement)
    body = document.documentElement.toxml() if document.documentElement is not None else ""
    wrapped = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n<?xpacket end="w"?>'
    return wrapped.encode()


def is_labelled(xmp: bytes | None) -> bool:
    """Whether a packet holds the label that this program writes."""
    return bool(xmp) and DIGITAL_SOURCE_TYPE.encode() in (xmp or b"") and b"(colorcli " in (xmp or b"")


def merged(sidecar: bytes, embedded: bytes | None) -> bytes | None:
    """A packet with the sidecar's properties, and those of the embedded packet that the sidecar lacks.

    None if the sidecar is damaged or could be hostile.
    """
    first, second = _parse(sidecar), _parse(embedded)
    if first is None:
        return None
    root = _rdf(first)
    if second is None or root is None:
        return sidecar
    said = {key for description in _descriptions(root) for key in _properties(description)}
    other = _rdf(second)
    for description in _descriptions(other) if other is not None else []:
        copy = first.importNode(description, True)
        for attribute in list((copy.attributes or {}).values()):
            if (attribute.namespaceURI, attribute.localName) in said:
                copy.removeAttributeNode(attribute)
        for child in [c for c in copy.childNodes if isinstance(c, minidom.Element)]:
            if (child.namespaceURI, child.localName) in said:
                copy.removeChild(child)
        root.appendChild(copy)
    return first.documentElement.toxml().encode() if first.documentElement is not None else None


def _properties(description: minidom.Element) -> list[tuple[str | None, str | None]]:
    """Namespaces and names of a description's properties."""
    children = [c for c in description.childNodes if isinstance(c, minidom.Element)]
    attributes = [a for a in (description.attributes or {}).values() if a.namespaceURI not in (RDF, _XMLNS)]
    return [(item.namespaceURI, item.localName) for item in (*children, *attributes)]


@dataclass(frozen=True)
class Statement:
    """What an XMP packet says about how an image was made; what it does not say is empty.

    Attributes:
        digital_source_type: URL of IPTC's term.
        ai_system: name of the AI system.
        ai_version: its version.
        creator_tool: the program that wrote the file.
        derived_from: path or identifier of what it was made from.
        history: actions, each with the program and its parameters, oldest first; at most 20.
    """

    digital_source_type: str = ""
    ai_system: str = ""
    ai_version: str = ""
    creator_tool: str = ""
    derived_from: str = ""
    history: tuple[tuple[str, str, str], ...] = ()


def read_packet(xmp: bytes) -> Statement | None:
    """What a packet, written by any program, says about this; None if it cannot be read or says nothing."""
    document = _parse(xmp)
    root = _rdf(document) if document else None
    if root is None:
        return None
    found = _descriptions(root)

    def value(namespace: str, name: str) -> str:
        return next((text for description in found if (text := _value(description, namespace, name))), "")

    derived = next((child for d in found for child in _children(d, XMP_MM, "DerivedFrom")), None)
    sources = [_value(derived, ST_REF, name) for name in ("filePath", "documentID", "instanceID")] if derived else []
    events = [
        event
        for description in found
        for history in _children(description, XMP_MM, "History")
        for sequence in _children(history, RDF, "Seq")
        for event in _children(sequence, RDF, "li")
    ]
    said = Statement(
        value(IPTC_EXT, "DigitalSourceType"),
        value(IPTC_EXT, "AISystemUsed"),
        value(IPTC_EXT, "AISystemVersionUsed"),
        value(XMP, "CreatorTool"),
        next((source for source in sources if source), ""),
        tuple(
            (_value(e, ST_EVT, "action"), _value(e, ST_EVT, "softwareAgent"), _value(e, ST_EVT, "parameters"))
            for e in events[-_MOST_EVENTS:]
        ),
    )
    return None if said == Statement() else said


def _value(element: minidom.Element, namespace: str, name: str) -> str:
    """A property of ``element`` or of the descriptions inside it, written as an attribute or as an element."""
    places = [element, *_descriptions(element)]
    for place in places:
        if text := place.getAttributeNS(namespace, name):
            return text.strip()
        for child in _children(place, namespace, name):
            if text := child.getAttributeNS(RDF, "resource") or _content(child):
                return text.strip()
    return ""


def is_readable(xmp: bytes) -> bool:
    """Whether ``provenance_packet`` can read and keep a packet."""
    return _parse(xmp) is not None


def orientation(xmp: bytes | None) -> int | None:
    """The ``tiff:Orientation`` 1..8 of a packet, or None."""
    document = _parse(xmp) if xmp and b"Orientation" in xmp.replace(b"\0", b"") else None
    root = _rdf(document) if document else None
    for description in _descriptions(root) if root else ():
        values = [description.getAttributeNS(TIFF, "Orientation")]
        values += [_content(child) for child in _children(description, TIFF, "Orientation")]
        for value in values:
            if value.strip() in "12345678" and len(value.strip()) == 1:
                return int(value)
    return None


_EMPTY = f'<x:xmpmeta xmlns:x="{_X}"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'.encode()


class _DocumentTypeError(Exception):
    pass


def _parse(packet: bytes | None) -> minidom.Document | None:
    """The packet as a document that has an ``rdf:RDF``; None if it is damaged or could be hostile."""
    if not packet or len(packet) > _MAX_PACKET:
        return None
    packet = _in_utf8(packet).strip(b"\0 \t\r\n")
    end = packet.rfind(b"<?xpacket end")
    if end >= 0:  # some writers leave garbage after the packet
        packet = packet[: packet.find(b">", end) + 1]

    def refuse(*_: object) -> None:
        raise _DocumentTypeError

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(packet, True)
        document = minidom.parseString(packet)
    except (expat.ExpatError, _DocumentTypeError, ValueError, LookupError, RecursionError):
        return None
    return document if _rdf(document) is not None else None


def _in_utf8(packet: bytes) -> bytes:
    """The packet in UTF-8, if it is in UTF-16 or UTF-32 (ISO 16684-1, 7.1); damaged ones are returned as they are."""
    name = next((name for start, name in _ENCODINGS.items() if packet.startswith(start)), None)
    if name is None:
        return packet
    try:
        text = packet.decode(name)
    except UnicodeDecodeError:
        return packet
    return _DECLARATION.sub("", text.lstrip("\ufeff"), count=1).encode("utf-8", "replace")


def _rdf(document: minidom.Document) -> minidom.Element | None:
    found = document.getElementsByTagNameNS(RDF, "RDF")
    return found[0] if found else None


def _descriptions(root: minidom.Element) -> list[minidom.Element]:
    return _children(root, RDF, "Description")


def _children(parent: minidom.Element, namespace: str, name: str) -> list[minidom.Element]:
    return [
        child
        for child in parent.childNodes
        if isinstance(child, minidom.Element) and (child.namespaceURI, child.localName) == (namespace, name)
    ]


def _content(element: minidom.Element) -> str:
    return "".join(child.data for child in element.childNodes if isinstance(child, minidom.Text))


def _remove_outdated(descriptions: list[minidom.Element]) -> dict[str, str]:
    """Remove what the label replaces and what is no longer true, reset the orientation; return former identifiers."""
    former: dict[str, str] = {}
    for description in descriptions:
        for attribute in list((description.attributes or {}).values()):
            key = (attribute.namespaceURI, attribute.localName)
            if key in _IDENTIFIERS:
                former[_IDENTIFIERS[key]] = attribute.value
            if key in _REPLACED or key in _STALE:
                description.removeAttributeNode(attribute)
            elif key == (TIFF, "Orientation"):
                attribute.value = "1"
        for child in [c for c in description.childNodes if isinstance(c, minidom.Element)]:
            key = (child.namespaceURI, child.localName)
            if key in _IDENTIFIERS:
                former[_IDENTIFIERS[key]] = _content(child)
            if key in _REPLACED or key in _STALE:
                description.removeChild(child)
            elif key == (TIFF, "Orientation"):
                _set_text(child, "1")
    return former


def _set_text(element: minidom.Element, text: str) -> None:
    for child in list(element.childNodes):
        element.removeChild(child)
    owner = element.ownerDocument
    if owner is not None:
        element.appendChild(owner.createTextNode(text))


def _element(document: minidom.Document, parent: minidom.Element, namespace: str, name: str) -> minidom.Element:
    prefix = next(prefix for prefix, known in _PREFIXES.items() if known == namespace)
    element = document.createElementNS(namespace, f"{prefix}:{name}")
    parent.appendChild(element)
    return element


def _text(document: minidom.Document, parent: minidom.Element, namespace: str, name: str, text: str) -> None:
    _element(document, parent, namespace, name).appendChild(document.createTextNode(printable(text)))


def _identify(document: minidom.Document, label: minidom.Element, instance: str, former: Mapping[str, str]) -> None:
    """A new file is a new document: it gets its own identifiers and keeps the one of the original document."""
    _text(document, label, XMP_MM, "InstanceID", f"xmp.iid:{instance}")
    _text(document, label, XMP_MM, "DocumentID", f"xmp.did:{instance}")
    if former.get("DocumentID") and not former.get("OriginalDocumentID"):
        _text(document, label, XMP_MM, "OriginalDocumentID", former["DocumentID"])


def _instance(provenance: Provenance) -> str:
    """A UUID that depends only on the input, the weights and the parameters."""
    facts = [provenance.input_sha256, provenance.input_name, provenance.weights_sha256, dict(provenance.parameters)]
    name = json.dumps(facts, sort_keys=True, default=str)
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"colorcli:{name}"))


def _derived_from(
    document: minidom.Document, label: minidom.Element, provenance: Provenance, former: Mapping[str, str]
) -> None:
    reference = _element(document, label, XMP_MM, "DerivedFrom")
    reference.setAttributeNS(RDF, "rdf:parseType", "Resource")
    instance = former.get("InstanceID") or f"sha256:{provenance.input_sha256}"
    _text(document, reference, ST_REF, "instanceID", instance)
    for name, term in (("DocumentID", "documentID"), ("OriginalDocumentID", "originalDocumentID")):
        if former.get(name):
            _text(document, reference, ST_REF, term, former[name])
    _text(document, reference, ST_REF, "filePath", provenance.input_name)


def _add_to_history(
    document: minidom.Document,
    existing: list[minidom.Element],
    label: minidom.Element,
    provenance: Provenance,
    instance: str,
) -> None:
    histories = [history for description in existing for history in _children(description, XMP_MM, "History")]
    sequences = _children(histories[0], RDF, "Seq") if histories else []
    if sequences:
        sequence = sequences[0]
        # the existing packet may bind other prefixes
        for prefix, namespace in _PREFIXES.items():
            sequence.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
    else:
        for history in histories:
            if history.parentNode is not None:
                history.parentNode.removeChild(history)
        sequence = _element(document, _element(document, label, XMP_MM, "History"), RDF, "Seq")
    event = _element(document, sequence, RDF, "li")
    event.setAttributeNS(RDF, "rdf:parseType", "Resource")
    details = {
        "model": provenance.model,
        "version": provenance.version,
        "weights_sha256": provenance.weights_sha256,
        "input_sha256": provenance.input_sha256,
        "parameters": dict(provenance.parameters),
    }
    _text(document, event, ST_EVT, "action", "edited")
    _text(document, event, ST_EVT, "instanceID", f"xmp.iid:{instance}")
    if provenance.when:
        _text(document, event, ST_EVT, "when", provenance.when)
    _text(document, event, ST_EVT, "softwareAgent", provenance.software)
    _text(document, event, ST_EVT, "changed", "/")
    _text(document, event, ST_EVT, "parameters", json.dumps(details, sort_keys=True, default=str, ensure_ascii=False))


def _drop_blank_text(node: minidom.Element) -> None:
    """Drop comments and white space between elements, above all padding: neither means anything in RDF."""
    for child in list(node.childNodes):
        blank = isinstance(child, minidom.Text) and not child.data.strip() and len(node.childNodes) > 1
        if blank or child.nodeType == Node.COMMENT_NODE:
            node.removeChild(child)
        elif isinstance(child, minidom.Element):
            _drop_blank_text(child)
