"""The label is true and well-formed, and keeps what the archive had written before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colorcli.images import provenance as terms
from colorcli.images.provenance import Provenance, is_readable, orientation, provenance_packet
from colorcli.text import printable
from tests.images.conftest import PROVENANCE

EXISTING = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core">
 <r:RDF xmlns:r="{terms.RDF}">
  <r:Description r:about="uuid:1" xmlns:tiff="{terms.TIFF}" xmlns:xmpMM="{terms.XMP_MM}"
    xmlns:photoshop="{terms.PHOTOSHOP}" xmlns:archive="http://archive.example/ns/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:e="{terms.ST_EVT}" tiff:Orientation="6" photoshop:ICCProfile="Dot Gain 20%" archive:box="17"
    xmpMM:DocumentID="xmp.did:42">
   <dc:title><r:Alt><r:li xml:lang="x-default">Père &amp; fils</r:li></r:Alt></dc:title>
   <xmpMM:DerivedFrom r:parseType="Resource"><old/></xmpMM:DerivedFrom>
   <xmpMM:History><r:Seq><r:li r:parseType="Resource"><e:action>created</e:action></r:li></r:Seq></xmpMM:History>
  </r:Description>
 </r:RDF>
</x:xmpmeta>
{" " * 2000}
<?xpacket end="w"?>""".encode()


def find_all(packet: bytes, namespace: str, name: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(packet).findall(f".//{{{namespace}}}{name}")


def test_existing_properties_are_kept_and_outdated_ones_replaced() -> None:
    packet = provenance_packet(PROVENANCE, EXISTING)
    description = ElementTree.fromstring(packet).find(f".//{{{terms.RDF}}}Description")
    assert description.get("{http://archive.example/ns/}box") == "17"
    assert description.get(f"{{{terms.TIFF}}}Orientation") == "1"
    assert b"Dot Gain" not in packet
    assert "Père &amp; fils".encode() in packet
    assert len(find_all(packet, terms.XMP_MM, "DerivedFrom")) == 1
    assert find_all(packet, terms.ST_REF, "documentID")[0].text == "xmp.did:42"
    assert find_all(packet, terms.XMP_MM, "OriginalDocumentID")[0].text == "xmp.did:42"
    assert [e.text for e in find_all(packet, terms.ST_EVT, "action")] == ["created", "edited"]
    abouts = {d.get(f"{{{terms.RDF}}}about") for d in find_all(packet, terms.RDF, "Description")}
    assert abouts == {"uuid:1"}


def test_a_new_file_has_identifiers_of_its_own() -> None:
    """To an asset manager, two files with one InstanceID are the same file, and it may drop the original."""
    given = EXISTING.replace(
        b'xmpMM:DocumentID="xmp.did:42"',
        b'xmpMM:DocumentID="xmp.did:2222" xmpMM:InstanceID="xmp.iid:1111" xmpMM:OriginalDocumentID="xmp.did:3333"',
    )
    description = ElementTree.fromstring(provenance_packet(PROVENANCE, given))

    def only(namespace: str, name: str) -> str:
        inside = [e.text for e in description.findall(f".//{{{namespace}}}{name}")]
        outside = [d.get(f"{{{namespace}}}{name}") for d in description.iter()]
        (value,) = [text for text in (*inside, *outside) if text]
        return value

    assert only(terms.ST_REF, "instanceID") == "xmp.iid:1111"
    assert only(terms.ST_REF, "documentID") == "xmp.did:2222"
    assert only(terms.XMP_MM, "OriginalDocumentID") == "xmp.did:3333"
    instance = only(terms.XMP_MM, "InstanceID")
    assert instance not in ("xmp.iid:1111", "") and only(terms.ST_EVT, "instanceID") == instance
    assert only(terms.XMP_MM, "DocumentID") == instance.replace("iid", "did")
    assert PROVENANCE.input_sha256 in only(terms.ST_EVT, "parameters")
    other = replace(PROVENANCE, parameters={"seed": 1})
    assert provenance_packet(PROVENANCE, given) == provenance_packet(PROVENANCE, given), "runs repeat their bytes"
    assert instance.encode() not in provenance_packet(other, given)


def test_colouring_twice_labels_once_and_remembers_both() -> None:
    packet = provenance_packet(replace(PROVENANCE, model="other"), provenance_packet(PROVENANCE, EXISTING))
    assert len(find_all(packet, terms.IPTC_EXT, "DigitalSourceType")) == 1
    assert [e.text for e in find_all(packet, terms.IPTC_EXT, "AISystemUsed")] == ["other (colorcli 0.1.0)"]
    assert len(find_all(packet, terms.ST_EVT, "action")) == 3


@pytest.mark.parametrize(
    "hostile",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + EXISTING.split(b"?>", 1)[1],
        EXISTING[:-300][:900],
        b"rubbish",
        b"\xff\xfe\x00",
        b"<a/>",
        b"<a>" * 100000,
        EXISTING.decode().replace('"?>', '"?><!DOCTYPE x SYSTEM "file:///etc/passwd">', 1).encode("utf-16"),
    ],
)
def test_damaged_and_hostile_packets_are_left_out(hostile: Any) -> None:
    """An entity bomb must not expand, and a broken packet must not cost the photograph its label."""
    assert provenance_packet(PROVENANCE, hostile) == provenance_packet(PROVENANCE)


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_any_text_gives_a_well_formed_packet(name: str, model: Any, parameters: Any) -> None:
    packet = provenance_packet(Provenance(model, "1", "0", "s", parameters, input_name=name))
    assert len(find_all(packet, terms.IPTC_EXT, "DigitalSourceType")) == 1


def test_names_that_are_not_text_give_a_well_formed_packet() -> None:
    undecodable = b"caf\xe9\n\x01.jpg".decode("utf-8", "surrogateescape")
    packet = provenance_packet(replace(PROVENANCE, input_name=undecodable))
    assert find_all(packet, terms.ST_REF, "filePath")[0].text == printable(undecodable) == "caf\\udce9\\n\\x01.jpg"


def test_orientation_is_found_as_attribute_and_as_element() -> None:
    assert orientation(EXISTING) == 6
    element = EXISTING.replace(b'tiff:Orientation="6"', b"").replace(
        b"<dc:title>", b"<tiff:Orientation>8</tiff:Orientation><dc:title>"
    )
    assert orientation(element) == 8
    assert orientation(EXISTING.replace(b'"6"', b'"99"')) is None
    assert orientation(None) is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("declared", [False, True])
def test_packets_in_other_encodings_of_unicode_are_kept(encoding: str, declared: bool) -> None:
    """They were left out as damaged."""
    text = EXISTING.decode()
    start = f'<?xml version="1.0" encoding="{encoding[:6]}"?>' if declared else ""
    packet = (start + text).encode(encoding)
    assert is_readable(packet)
    assert provenance_packet(PROVENANCE, packet) == provenance_packet(PROVENANCE, EXISTING)
