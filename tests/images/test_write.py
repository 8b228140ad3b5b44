"""Writing photographs: an output is complete and labelled, or it does not exist."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin
from skimage.color import rgb2lab

from colorcli.errors import OutputError, PhotoError
from colorcli.files import part_path
from colorcli.images import provenance as terms
from colorcli.images.photo import Format, Metadata, Resolution
from colorcli.images.provenance import Provenance, provenance_packet
from colorcli.images.read import probe, read_photo
from colorcli.images.write import Written, write_photo
from tests.images.conftest import PROVENANCE, color_scene, gray_scene, strips_of

NAMES: dict[Format, str] = {"JPEG": "a.jpg", "PNG": "a.png", "TIFF": "a.tif", "WEBP": "a.webp"}
ALL = [("JPEG", 8), ("PNG", 8), ("PNG", 16), ("TIFF", 8), ("TIFF", 16), ("WEBP", 8)]


def write(target: Path, form: Format, bits: int = 8, metadata: Metadata | None = None, **options: Any) -> Written:
    picture = options.pop("picture", None)
    picture = color_scene(bits=bits) if picture is None else picture
    settings: dict[str, Any] = {"provenance": PROVENANCE, "metadata": metadata, **options}
    height, width = picture.shape[:2]
    return write_photo(target, strips_of(picture), height=height, width=width, bits=bits, format=form, **settings)


def per_inch(resolution: Resolution) -> tuple[float, float]:
    scale = 2.54 if resolution.unit == "cm" else 1.0
    return resolution.x * scale, resolution.y * scale


def xmp_of(path: Path) -> bytes:
    """The packet, read by a library other than the one that wrote it."""
    with Image.open(path) as image:
        if image.format == "TIFF":
            return tifffile.TiffFile(path).pages[0].tags[700].value
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
        return packet if isinstance(packet, bytes) else packet.encode()


def exif_block() -> bytes:
    """A big-endian EXIF block with a maker note, a GPS position and an orientation."""
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[0x8298] = "A description", "Kodak", "(c) the archive"
    exif[0x0112] = 6
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 600.0, 2
    exif.get_ifd(0x8769).update({0x9003: "1912:06:03 10:00:00", 0x927C: b"maker note", 0xA001: 65535, 0xA002: 64})
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 0.0)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(("form", "bits"), ALL)
def test_round_trip(tmp_path: Path, form: str, bits: int) -> None:
    """Lossless formats return every code, 16-bit ones included; JPEG and WebP stay close."""
    target = tmp_path / NAMES[form]
    written = write(target, form, bits)
    content = target.read_bytes()
    assert written == Written(len(content), hashlib.sha256(content).hexdigest())
    assert probe(target) == (form, 64, 48, bits)
    pixels = read_photo(target).pixels
    if form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(pixels, color_scene(bits=bits))
    else:
        difference = np.abs(pixels.astype(int) - color_scene().astype(int))
        assert np.median(difference) <= (1 if form == "JPEG" else 3)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("form", NAMES)
def test_pillow_agrees_about_what_was_written(tmp_path: Path, form: str) -> None:
    """Files must be right for other programs, not only for our own reader."""
    target = tmp_path / NAMES[form]
    write(target, form)
    with Image.open(target) as image:
        assert (image.format, image.mode, image.size) == (form, "RGB", (64, 48))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        difference = np.abs(np.asarray(image).astype(int) - color_scene().astype(int))
    assert np.median(difference) <= 3


def test_jpeg_keeps_chroma_at_full_resolution(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", "JPEG")
    with Image.open(tmp_path / "a.jpg") as image:
        layers: Any = getattr(image, "layer")  # noqa: B009 (Pillow's types do not know it)
        assert [layer[1:3] for layer in layers] == [(1, 1)] * 3


def test_tiff_is_compressed_with_a_predictor(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", "TIFF", 16)
    page = tifffile.TiffFile(tmp_path / "a.tif").pages[0]
    assert (int(page.compression), int(page.predictor), int(page.photometric)) == (8, 2, 2)
    assert "Software" not in {tag.name for tag in page.tags}


@pytest.mark.parametrize("rows", [1, 3, 48, 200])
def test_tiff_strips_of_any_height_make_the_same_file(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colorcli.images.tiff._STRIP_BYTES", 64 * 6 * 5)
    shape: dict[str, Any] = {"height": 48, "width": 64, "bits": 16, "format": "TIFF", "provenance": PROVENANCE}
    write_photo(tmp_path / "a.tif", strips_of(color_scene(bits=16), rows), **shape)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), color_scene(bits=16))
    write_photo(tmp_path / "b.tif", strips_of(color_scene(bits=16), 5), **shape)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("text", ['{"shape": [48, 64]}', "ImageJ=1.54f\nimages=3\n", "A portrait"])
def test_a_description_of_the_gray_layout_does_not_describe_the_colours(tmp_path: Path, text: str) -> None:
    """tifffile and ImageJ trust the description they wrote, and complain about the RGB image or misread it."""
    tifffile.imwrite(tmp_path / "gray.tif", gray_scene(), description=text, metadata=None)
    photo = read_photo(tmp_path / "gray.tif")
    write(tmp_path / "a.tif", "TIFF", 8, photo.metadata)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages[0].description == (text if text == "A portrait" else "")


def test_a_bigtiff_keeps_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of more than 4 GB are written as BigTIFF, whose directories have another layout."""
    monkeypatch.setattr("colorcli.images.tiff._CLASSIC_LIMIT", 0)
    write(tmp_path / "a.tif", "TIFF", 16, Metadata(exif=exif_block()))
    assert tifffile.TiffFile(tmp_path / "a.tif").is_bigtiff
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.pixels, color_scene(bits=16))
    exif = Image.Exif()
    exif.load(photo.metadata.exif or b"")
    assert exif.get_ifd(0x8769)[0x9003] == "1912:06:03 10:00:00"
    assert exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize(("form", "bits"), ALL)
def test_the_same_pixels_give_the_same_bytes(tmp_path: Path, form: str, bits: int) -> None:
    """Without this, `verify` and a second run could not tell a change from noise."""
    first = write(tmp_path / "first", form, bits)
    assert write(tmp_path / "second", form, bits) == first


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept(tmp_path: Path, form: str, bits: int) -> None:
    if form == "WEBP" and bits == 16:
        bits = 8
    alpha = gray_scene(bits=bits)
    target = tmp_path / NAMES[form]
    write(target, form, bits, alpha=alpha)
    np.testing.assert_array_equal(read_photo(target).alpha, alpha)


@pytest.mark.parametrize(("form", "bits"), ALL)
def test_metadata_is_kept_and_true(tmp_path: Path, form: str, bits: int) -> None:
    """An archive's descriptions, dates, places and scanning resolution must come out as they went in."""
    source = tmp_path / "source.jpg"
    gray = Image.fromarray(gray_scene())
    iptc = b"\x1c\x02\x78\x00\x07caption"
    resource = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    resource += b"\0" * (len(iptc) % 2)
    extra = b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource
    gray.save(source, exif=b"Exif\0\0" + exif_block(), dpi=(300, 600), extra=extra)
    photo = read_photo(source)
    assert photo.pixels.shape == (64, 48)
    assert photo.metadata.iptc == iptc
    assert photo.metadata.resolution == Resolution(600, 300, "inch")

    target = tmp_path / NAMES[form]
    write(target, form, bits, photo.metadata, picture=color_scene(64, 48, bits))
    again = read_photo(target)
    assert again.pixels.shape == (64, 48, 3)
    assert again.metadata.resolution is not None
    assert per_inch(again.metadata.resolution) == pytest.approx((600, 300), abs=0.2)
    assert again.metadata.iptc == (None if form == "WEBP" else iptc)
    exif = Image.Exif()
    exif.load(again.metadata.exif or b"")
    assert (exif[0x010E], exif[0x010F], exif[0x8298]) == ("A description", "Kodak", "(c) the archive")
    assert exif.get(0x0112, 1) == 1
    inner = exif.get_ifd(0x8769)
    assert (inner[0x9003], inner[0x927C]) == ("1912:06:03 10:00:00", b"maker note")
    assert (inner[0xA001], inner[0xA002]) == (1, 48)
    assert exif.get_ifd(0x8825)[2] == (52.0, 31.0, 0.0)
    with Image.open(target) as image:
        assert image.getexif().get_ifd(0x8769)[0x9003] == "1912:06:03 10:00:00"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_comments_are_kept_if_the_format_holds_them(tmp_path: Path, form: str) -> None:
    """Somebody took the trouble to type who is in the photograph."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", "Aunt Vera, 1931")
    info.add_itxt("Author", "Jürgen", "de", "Autor")
    info.add_text("Raw profile type exif", "stale", zip=True)
    Image.fromarray(gray_scene()).save(tmp_path / "in.png", pnginfo=info)
    Image.fromarray(gray_scene()).save(tmp_path / "in.jpg", comment="Aunt Vera, 1931")
    photo = read_photo(tmp_path / ("in.jpg" if form == "JPEG" else "in.png"))
    written = write(tmp_path / NAMES[form], form, 8, photo.metadata)
    assert bool(written.left_out) == (form == "TIFF"), "and the journal says what is lost"
    with Image.open(tmp_path / NAMES[form]) as image:
        if form == "JPEG":
            assert image.info["comment"] == b"Aunt Vera, 1931"
        if form == "PNG":
            texts: Any = getattr(image, "text")  # noqa: B009 (Pillow's types do not know it)
            assert {**texts, "XML:com.adobe.xmp": ""} == {
                "Description": "Aunt Vera, 1931", "Author": "Jürgen", "XML:com.adobe.xmp": ""
            }  # fmt: skip


def test_resolution_in_centimetres_survives_every_format(tmp_path: Path) -> None:
    for form, name in NAMES.items():
        write(tmp_path / name, form, 8, Metadata(resolution=Resolution(120, 118, "cm")))
        resolution = read_photo(tmp_path / name).metadata.resolution
        assert resolution is not None
        assert per_inch(resolution) == pytest.approx((304.8, 299.72), abs=0.01)


def test_the_gray_thumbnail_and_profile_are_dropped(tmp_path: Path) -> None:
    """Without this, file managers show the gray thumbnail, and viewers apply a gray profile to colour."""
    thumbnail = io.BytesIO()
    Image.fromarray(gray_scene()).save(thumbnail, "JPEG")
    picture = thumbnail.getvalue()
    base = exif_block()
    entries, first = struct.unpack_from(">H", base, 8)[0], 8
    next_at = first + 2 + 12 * entries
    ifd1 = len(base)
    start = ifd1 + 2 + 2 * 12 + 4
    block = bytearray(base)
    struct.pack_into(">I", block, next_at, ifd1)
    block += struct.pack(">HHHIIHHIII", 2, 0x0201, 4, 1, start, 0x0202, 4, 1, len(picture), 0) + picture
    source = tmp_path / "source.jpg"
    Image.fromarray(gray_scene()).save(source, exif=b"Exif\0\0" + bytes(block))
    photo = read_photo(source)
    for form, name in NAMES.items():
        write(tmp_path / name, form, 8, replace(photo.metadata, icc=b"stale gray profile"))
        content = (tmp_path / name).read_bytes()
        assert picture[:200] not in content
        assert b"stale gray profile" not in content
    exif = Image.Exif()
    exif.load(photo.metadata.exif or b"")
    assert exif[0x010F] == "Kodak"


@pytest.mark.parametrize(("form", "bits"), ALL)
def test_every_format_carries_the_label(tmp_path: Path, form: str, bits: int) -> None:
    """Without this, a guess by a network passes for a colour photograph."""
    target = tmp_path / NAMES[form]
    write(target, form, bits)
    root = ElementTree.fromstring(xmp_of(target))
    assert root.find(f".//{{{terms.IPTC_EXT}}}DigitalSourceType").text == terms.DIGITAL_SOURCE_TYPE
    assert "bigcolor@lite" in root.find(f".//{{{terms.IPTC_EXT}}}AISystemUsed").text
    derived = root.find(f".//{{{terms.XMP_MM}}}DerivedFrom")
    assert "cd" * 32 in derived.find(f"{{{terms.ST_REF}}}instanceID").text
    assert derived.find(f"{{{terms.ST_REF}}}filePath").text == "album/père & <fils>.jpg"
    event = root.find(f".//{{{terms.XMP_MM}}}History//{{{terms.RDF}}}li")
    assert "ab" * 32 in event.find(f"{{{terms.ST_EVT}}}parameters").text
    assert '"sigma": 0.8' in event.find(f"{{{terms.ST_EVT}}}parameters").text


def test_the_label_stays_when_the_old_packet_is_too_large_for_jpeg(tmp_path: Path) -> None:
    filler = provenance_packet(Provenance("m", "1", "0", "s", {"note": "x" * 70000}))
    written = write(tmp_path / "a.jpg", "JPEG", 8, Metadata(xmp=filler))
    assert "XMP" in written.left_out[0], "and the loss is reported"
    packet = xmp_of(tmp_path / "a.jpg")
    assert terms.DIGITAL_SOURCE_TYPE.encode() in packet
    assert len(packet) < 65000
    assert write(tmp_path / "a.png", "PNG", 8, Metadata(xmp=filler)).left_out == ()
    assert b"x" * 70000 in xmp_of(tmp_path / "a.png")


def test_exif_too_large_for_jpeg_loses_the_maker_note_first(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Kodak"
    exif.get_ifd(0x8769)[0x927C] = bytes(70000)
    written = write(tmp_path / "a.jpg", "JPEG", 8, Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0")))
    assert "EXIF" in written.left_out[0]
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif()[0x010F] == "Kodak"


def test_strips_that_do_not_make_up_the_picture_are_refused(tmp_path: Path) -> None:
    """Without this, a network's wrong output would be written as an image with garbage or too few rows."""
    shape: dict[str, Any] = {"height": 48, "width": 64, "bits": 8, "provenance": PROVENANCE}
    good = color_scene()
    for form, name in NAMES.items():
        for bad in (good[:40], np.concatenate([good, good]), good[:, :60], good.astype(np.uint16), good[..., :1]):
            with pytest.raises(PhotoError):
                write_photo(tmp_path / name, strips_of(bad), format=form, **shape)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_the_canvas_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying would double the memory of large photographs; old content of the canvas must not show in the image."""
    picture = color_scene(bits=8)
    coded: list[Any] = []
    before, encode = picture.copy(), imagecodecs.png_encode

    def record(pixels: Any, **rest: Any) -> Any:
        coded.append(pixels)
        return encode(pixels, **rest)

    monkeypatch.setattr(imagecodecs, "png_encode", record)
    for canvas in (picture, np.full_like(picture, 7), None):
        write(tmp_path / "a.png", "PNG", picture=picture, canvas=canvas)
        assert np.array_equal(read_photo(tmp_path / "a.png").pixels, before)
    assert coded[0] is picture and np.array_equal(picture, before)
    alpha = np.arange(picture.shape[0] * picture.shape[1], dtype=np.uint8).reshape(picture.shape[:2])
    write(tmp_path / "a.png", "PNG", picture=picture, canvas=picture, alpha=alpha)
    kept: Any = read_photo(tmp_path / "a.png").alpha
    assert np.array_equal(kept, alpha) and np.array_equal(picture, before)


def test_a_failure_while_writing_leaves_the_old_output_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    target.write_bytes(b"what was here before")

    def failing() -> Any:
        yield color_scene()[:10]
        raise RuntimeError("the network died")

    for form in NAMES:
        with pytest.raises((RuntimeError, PhotoError), match="the network died"):
            write_photo(target, failing(), height=48, width=64, bits=8, format=form, provenance=PROVENANCE)
    assert target.read_bytes() == b"what was here before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_disk_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, fault: Any
) -> None:
    """Exit code 8 tells the user about the disk; the temporary file must not fill it further."""

    def fail(_: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="disk is full" if fault == errno.ENOSPC else "rror"):
        write(tmp_path / NAMES[form], form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", NAMES)
def test_a_disk_that_fills_up_while_writing_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr("colorcli.images.write._created", lambda part: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(OutputError, match="disk is full"):
        write(tmp_path / NAMES[form], form)


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write(tmp_path / "gone" / "a.jpg", "JPEG")


def test_a_header_that_does_not_read_back_fails_the_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colorcli.images.write.probe", lambda path: ("JPEG", 1, 1, 8))
    with pytest.raises(PhotoError, match="read back"):
        write(tmp_path / "a.jpg", "JPEG")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_verifying_decodes_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Before trusting an archive to copies, one wants to know that each can be decoded to the end."""
    write(tmp_path / "a", form, verify=True)
    (tmp_path / "a").unlink()

    def spoil(part: Path) -> Any:
        header = probe(part)
        content = part.read_bytes()
        part.write_bytes(content[: len(content) * 3 // 4])
        return header

    monkeypatch.setattr("colorcli.images.write.probe", spoil)
    with pytest.raises(PhotoError, match="does not read back"):
        write(tmp_path / "a", form, verify=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 251 + ".jpg", "é" * 125 + ".jpg", "a\nb.jpg", "写真.jpg"])
def test_unusual_names_can_be_written(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "JPEG")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_killed_run_left_is_overwritten(tmp_path: Path) -> None:
    """The output path is absent until it is complete, whenever the process dies."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from colorcli.images.write import write_photo
from tests.images.conftest import PROVENANCE, color_scene
def strips():
    yield color_scene()[:20]
    os.kill(os.getpid(), signal.SIGKILL)
write_photo(Path(sys.argv[1]), strips(), height=48, width=64, bits=8, format="TIFF", provenance=PROVENANCE)
"""
    target = tmp_path / "a.tif"
    assert subprocess.run([sys.executable, "-c", script, str(target)]).returncode == -9
    assert [p.name for p in tmp_path.iterdir()] == [part_path(target).name]
    write(target, "TIFF")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    """Such a link must not redirect the write into somebody else's file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    target = tmp_path / "a.jpg"
    part_path(target).symlink_to(victim)
    write(target, "JPEG")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(("form", "bits"), [("JPEG", 16), ("WEBP", 16)])
def test_depths_that_a_format_lacks_are_refused(tmp_path: Path, form: str, bits: int) -> None:
    with pytest.raises(PhotoError, match="16 bits"):
        write(tmp_path / "a", form, bits)


def test_webp_has_a_largest_side(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="16383"):
        write_photo(tmp_path / "a.webp", iter(()), height=1, width=16384, bits=8, format="WEBP", provenance=PROVENANCE)


def test_a_large_tiff_is_streamed(tmp_path: Path) -> None:
    """Without this, a 100-megapixel 16-bit scan needs a second full copy in memory (600 MB)."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
import numpy as np
from colorcli.images.write import write_photo
from tests.images.conftest import PROVENANCE
base = (np.arange(4000 * 3, dtype=np.uint16) * 5).reshape(1, 4000, 3)
def strips():
    for y in range(0, 4000, 250):
        yield np.repeat(base + np.uint16(y), 250, axis=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_photo(Path(sys.argv[1]), strips(), height=4000, width=4000, bits=16, format="TIFF", provenance=PROVENANCE)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.tif")], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 60  # MB, of 96 MB of pixels


def test_a_rename_that_fails_once_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virus scanner that locked a file for a moment ended the run."""
    replace_file, faults = Path.replace, [errno.EACCES, errno.EBUSY]

    def sometimes(self: Path, target: Path) -> Path:
        if faults:
            raise OSError(faults.pop(), "held by a scanner")
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    monkeypatch.setattr("colorcli.files.time.sleep", lambda _: None)
    write(tmp_path / "a.png", "PNG", 8, Metadata())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    faults.extend([errno.EACCES] * 9)
    with pytest.raises(PhotoError, match="cannot be replaced"):
        write(tmp_path / "a.png", "PNG", 8, Metadata())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("form", "lossless"), [("JPEG", False), ("WEBP", False), ("WEBP", True), ("TIFF", False)])
def test_lightness_is_compared_in_the_file(tmp_path: Path, form: str, lossless: bool) -> None:
    """The journal said 0.2 while the file was off by 4: lossy coding came after the measurement."""
    picture = color_scene()
    picture[::2, ::2] = 255 - picture[::2, ::2]
    for verify in (False, True):
        made = write(
            tmp_path / NAMES[form],
            form,
            picture=picture,
            quality=60,
            lossless=lossless,
            original=picture,
            verify=verify,
        )
        if form == "TIFF" or lossless:
            assert made.lightness is None
            continue
        assert made.lightness is not None and made.lightness.share == 1
        off = rgb2lab(np.asarray(Image.open(tmp_path / NAMES[form])))[..., 0] - rgb2lab(picture)[..., 0]
        assert made.lightness.max_delta_l == pytest.approx(np.abs(off).max(), abs=0.05)
        assert made.lightness.mean_delta_l == pytest.approx(np.abs(off).mean(), abs=0.01)


def test_blocks_of_a_large_jpeg_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of a large file is encoded again to measure it; it must come out as it did in the file."""
    monkeypatch.setattr("colorcli.images.as_written._WHOLE", 1000)
    monkeypatch.setattr("colorcli.images.as_written._COMPARED", 64 * 24)
    picture = np.random.default_rng(0).integers(0, 255, (120, 64, 3), dtype=np.uint8)
    made = write(tmp_path / "a.jpg", "JPEG", picture=picture, original=picture, canvas=np.empty_like(picture))
    assert made.lightness is not None and 0.1 < made.lightness.share < 0.4
    rows = np.concatenate([np.arange(y, y + 8) for y in range(0, 120, 8) if y in (0, 40, 80, 112, 8, 48, 88)])
    off = np.abs(rgb2lab(np.asarray(Image.open(tmp_path / "a.jpg")))[..., 0] - rgb2lab(picture)[..., 0])
    assert made.lightness.max_delta_l <= off.max() + 0.01
    assert made.lightness.max_delta_l == pytest.approx(off[rows].max(), rel=0.5)


def test_a_file_gets_the_time_that_it_is_given(tmp_path: Path) -> None:
    write(tmp_path / "a.png", "PNG", mtime_ns=1_000_000_000_000_000_000)
    assert (tmp_path / "a.png").stat().st_mtime == 1_000_000_000


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_jpeg_2000_is_written_without_loss_and_with_everything(tmp_path: Path, bits: int, alpha: bool) -> None:
    """Museums keep their masters in JPEG 2000, and had to convert TIFF outputs back by hand."""
    picture = color_scene(bits=bits)
    opacity = np.full(picture.shape[:2], np.iinfo(picture.dtype).max, picture.dtype) if alpha else None
    if opacity is not None:
        opacity[:5] //= 3
    metadata = Metadata(exif=None, iptc=b"\x1c\x02\x19\0\4boat\0", resolution=Resolution(300, 600, "inch"))
    target = tmp_path / "a.jp2"
    write_photo(
        target, [picture], height=48, width=64, bits=bits, format="JPEG2000", provenance=PROVENANCE, metadata=metadata,
        alpha=opacity,
    )  # fmt: skip
    photo = read_photo(target)
    np.testing.assert_array_equal(photo.pixels, picture)
    assert photo.metadata.iptc == metadata.iptc and b"compositeWithTrained" in (photo.metadata.xmp or b"")
    assert photo.metadata.resolution is not None
    assert per_inch(photo.metadata.resolution) == pytest.approx((300, 600), rel=1e-3)
    assert (photo.alpha is None) == (not alpha)
    if opacity is not None:
        np.testing.assert_array_equal(photo.alpha, opacity)
    with Image.open(target) as image:  # another reader agrees
        assert image.size == (64, 48)
        if bits == 8:
            np.testing.assert_array_equal(np.asarray(image)[..., :3], picture)
