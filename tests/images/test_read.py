"""Reading photographs: a wrong image or a crash is worse than a refusal."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from colorcli.color.spaces import lightness_to_gray
from colorcli.errors import PhotoError
from colorcli.images.formats import FORMATS
from colorcli.images.output_profile import output_profile
from colorcli.images.photo import Metadata, Resolution
from colorcli.images.read import decode_photo, decode_pixels, probe, read_photo
from colorcli.images.source import Source
from colorcli.images.write import write_photo
from tests.images.conftest import PROVENANCE, color_scene, gray_scene


def save(path: Path, picture: np.ndarray, **options: Any) -> Path:
    if path.suffix == ".tif":
        photometric = options.pop("photometric", "rgb" if picture.ndim == 3 else "minisblack")
        tifffile.imwrite(path, picture, photometric=photometric, metadata=None, **options)
    elif path.suffix == ".png" and picture.dtype == np.uint16:
        path.write_bytes(imagecodecs.png_encode(picture))
    else:
        Image.fromarray(picture).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "bits", "options"),
    [
        ("a.png", 8, {}),
        ("a.png", 16, {}),
        ("a.tif", 8, {}),
        ("a.tif", 16, {"compression": "adobe_deflate", "predictor": True, "rowsperstrip": 5}),
        ("a.tif", 16, {"tile": (16, 16), "compression": "lzw"}),
        ("a.tif", 16, {"bigtiff": True, "byteorder": ">"}),
        ("a.webp", 8, {"lossless": True}),
    ],
)
@pytest.mark.parametrize("color", [False, True])
def test_lossless_formats_are_read_exactly(tmp_path: Path, name: str, bits: int, options: Any, color: Any) -> None:
    """Without this, scans lose tones: the classic fault turns 16-bit gray white."""
    picture = color_scene(bits=bits) if color else gray_scene(bits=bits)
    photo = read_photo(save(tmp_path / name, picture, **options))
    assert photo.pixels.dtype == picture.dtype
    assert photo.kind == ("color" if color else "gray")
    np.testing.assert_array_equal(photo.pixels, picture)
    assert (photo.height, photo.width, photo.bits) == (48, 64, bits)
    assert probe(photo.path) == (photo.format, 64, 48, bits)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("color", [False, True])
def test_jpeg_is_read_as_pillow_reads_it(tmp_path: Path, progressive: bool, color: Any) -> None:
    picture = color_scene() if color else gray_scene()
    path = save(tmp_path / "a.jpg", picture, quality=90, progressive=progressive)
    np.testing.assert_array_equal(read_photo(path).pixels, np.asarray(Image.open(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_orientation_is_applied_once_and_reset(tmp_path: Path, orientation: int, name: str) -> None:
    """Without this, portraits come out on their side, or the next viewer rotates them twice."""
    path = tmp_path / name
    tags = Image.Exif()
    tags[0x0112] = orientation
    if name == "a.tif":
        save(path, gray_scene(), extratags=[(274, "H", 1, orientation, True)])
    else:
        options = {"lossless": True} if name == "a.webp" else {}
        save(path, gray_scene(), exif=tags.tobytes(), **options)
    photo = read_photo(path)
    with Image.open(path) as image:
        stored = Image.fromarray(gray_scene() if name == "a.tif" else np.asarray(image.convert("L")))
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(photo.pixels, expected)
    # read without judging the photograph's kind, the same gray may come as RGB
    plain = decode_pixels(path.read_bytes(), path)
    np.testing.assert_array_equal(plain if plain.ndim == 2 else plain[..., 1], expected)
    restored = Image.Exif()
    restored.load(photo.metadata.exif or b"")
    assert restored.get(0x0112, 1) == 1


def test_orientation_in_xmp_alone_is_honoured(tmp_path: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    photo = read_photo(save(tmp_path / "a.jpg", gray_scene(), xmp=packet.encode()))
    assert photo.pixels.shape == (64, 48)


def encoded_files(tmp_path: Path) -> list[Path]:
    texture = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    wide = texture.astype(np.uint16) * 257
    return [
        save(tmp_path / "gray.jpg", texture),
        save(tmp_path / "progressive.jpg", np.stack([texture] * 3, -1), progressive=True),
        save(tmp_path / "8.png", texture),
        save(tmp_path / "16.png", wide),
        save(tmp_path / "16.tif", wide, compression="adobe_deflate", rowsperstrip=8),
        save(tmp_path / "raw.tif", wide, rowsperstrip=8),
        save(tmp_path / "lossy.webp", np.stack([texture] * 3, -1)),
    ]


@pytest.mark.slow
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """Without this, half a photograph is coloured and called done."""
    accepted = []
    for path in encoded_files(tmp_path):
        data = path.read_bytes()
        read_photo(path)
        cut = tmp_path / ("cut" + path.suffix)
        for length in {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 24, len(data))}:
            cut.write_bytes(data[:length])
            try:
                photo = read_photo(cut)
            except PhotoError:
                continue
            # a TIFF may end in bytes that nothing refers to; then the image must be complete
            if path.suffix != ".tif" or not np.array_equal(photo.pixels, read_photo(path).pixels):
                accepted.append((path.name, length, len(data)))
    assert not accepted


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_do_worse_than_a_sentence(tmp_path: Path, data: Any) -> None:
    """Without this, one bad file among eighty thousand ends the run in a traceback."""
    files = sorted(p for p in tmp_path.iterdir() if not p.name.startswith("bad")) or sorted(encoded_files(tmp_path))
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content) - 1, 600)))] = data.draw(st.integers(0, 255))
    bad = tmp_path / ("bad" + path.suffix)
    bad.write_bytes(content)
    try:
        photo = read_photo(bad, max_pixels=1_000_000)
    except PhotoError as error:
        assert "\n" not in str(error)
    else:
        assert photo.pixels.ndim in (2, 3)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(gray_scene()).save(path, "PNG")
    assert read_photo(path).format == "PNG"
    (tmp_path / "b.jpg").write_bytes(b"%PDF-1.7" + bytes(100))
    with pytest.raises(PhotoError, match="not a JPEG, PNG, TIFF, WebP"):
        read_photo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").touch()
    with pytest.raises(PhotoError, match="empty"):
        read_photo(tmp_path / "c.jpg")


def test_size_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    """Without this, a few kilobytes that claim 3.6 gigapixels take the machine down."""
    path = save(tmp_path / "a.png", gray_scene())
    with pytest.raises(PhotoError, match=r"limit of 0\.00307 megapixels"):
        read_photo(path, max_pixels=64 * 48 - 1)
    bomb = tmp_path / "bomb.tif"
    tags = [(256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 1), (259, 3, 1, 4), (262, 3, 1, 0), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 4, 1, 60000), (279, 4, 1, 1)]
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    bomb.write_bytes(b"II*\0" + struct.pack("<I", 8) + table)
    with pytest.raises(PhotoError, match="60000 x 60000"):
        read_photo(bomb)


def test_pillows_own_size_limit_does_not_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("a.jpg", "a.png", "a.tif"):
        assert read_photo(save(tmp_path / name, gray_scene())).width == 64
    palette = Image.fromarray(color_scene()).quantize(16)
    palette.save(tmp_path / "p.png")
    assert read_photo(tmp_path / "p.png").width == 64


def test_a_cyclic_directory_ends(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", gray_scene())
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_photo(path).pixels, gray_scene())


def test_one_of_several_pages_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(gray_scene()[:8, :8], subfiletype=1, photometric="minisblack", metadata=None)
        writer.write(gray_scene(), photometric="minisblack", metadata=None)
        writer.write(gray_scene()[::-1], photometric="minisblack", metadata=None)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, gray_scene())
    assert photo.notes == ("only the first of its 2 pages was read",)


def test_xmp_of_more_than_one_segment_is_said_to_be_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", gray_scene())
    data = (tmp_path / "a.jpg").read_bytes()
    content = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 5, 0) + b"<xml>"
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:])
    assert any("XMP beyond" in note for note in read_photo(tmp_path / "a.jpg").notes)


@pytest.mark.parametrize("bits", [8, 16])
def test_min_is_white_is_inverted(tmp_path: Path, bits: int) -> None:
    """Without this, a film scan is coloured as its negative."""
    photo = read_photo(save(tmp_path / "a.tif", gray_scene(bits=bits), photometric="miniswhite"))
    np.testing.assert_array_equal(photo.pixels, ~gray_scene(bits=bits))


def test_few_bits_fill_the_range(tmp_path: Path) -> None:
    """Without this, 1-, 4- and 12-bit scans come out almost black."""
    bilevel = gray_scene() > 128
    for name in ("1.tif", "1.png"):
        Image.fromarray(bilevel).save(tmp_path / name)
        np.testing.assert_array_equal(read_photo(tmp_path / name).pixels, bilevel.astype(np.uint8) * 255)
    Image.fromarray(bilevel).save(tmp_path / "fax.tif", compression="group4")
    np.testing.assert_array_equal(read_photo(tmp_path / "fax.tif").pixels, bilevel.astype(np.uint8) * 255)
    four = gray_scene() >> 4
    tifffile.imwrite(tmp_path / "4.tif", four, bitspersample=4, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read_photo(tmp_path / "4.tif").pixels, four * 17)
    twelve = gray_scene(bits=16) >> 4
    tifffile.imwrite(tmp_path / "12.tif", twelve, bitspersample=12, photometric="minisblack", metadata=None)
    expected = np.rint(twelve / 4095 * 65535).astype(np.uint16)
    np.testing.assert_array_equal(read_photo(tmp_path / "12.tif").pixels, expected)
    save(tmp_path / "12in16.tif", twelve, extratags=[(281, "H", 1, 4095, True)])
    np.testing.assert_array_equal(read_photo(tmp_path / "12in16.tif").pixels, expected)


def test_palettes_are_resolved(tmp_path: Path) -> None:
    gray_palette = Image.fromarray(gray_scene() >> 4, "P")
    gray_palette.putpalette([v for i in range(16) for v in (i * 17,) * 3])
    for name in ("p.png", "p.tif"):
        gray_palette.save(tmp_path / name)
        np.testing.assert_array_equal(read_photo(tmp_path / name).pixels, (gray_scene() >> 4) * 17)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_kept_apart(tmp_path: Path, bits: int, channels: int) -> None:
    base = gray_scene(bits=bits)[..., None] if channels == 2 else color_scene(bits=bits)
    alpha = gray_scene(bits=bits)[::-1]
    picture = np.dstack([base, alpha])
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(picture))
    save(
        tmp_path / "a.tif",
        picture,
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    for name in ("a.png", "a.tif"):
        photo = read_photo(tmp_path / name)
        np.testing.assert_array_equal(photo.alpha, alpha)
        np.testing.assert_array_equal(photo.pixels, base[..., 0] if channels == 2 else base)


def test_planar_rgb_is_put_together(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.moveaxis(color_scene(bits=16), -1, 0))
    path = save(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression="lzw")
    np.testing.assert_array_equal(read_photo(path).pixels, color_scene(bits=16))


def test_cmyk_jpeg_keeps_light_and_dark(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(gray_scene()).convert("CMYK").save(path, quality=100)
    pixels = read_photo(path).pixels.astype(int)
    assert np.abs(pixels.reshape(48, 64, -1).mean(-1) - gray_scene()).max() < 8


def test_floats_beyond_their_usual_range_are_scaled_with_a_note(tmp_path: Path) -> None:
    """Clipping would silently lose highlights; a refusal would make archives convert their scans."""
    values = gray_scene(bits=16) / np.float32(65535)
    photo = read_photo(save(tmp_path / "a.tif", values.astype(np.float32)))
    np.testing.assert_array_equal(photo.pixels, gray_scene(bits=16))
    for scale, taken in ((255, "0 to 255"), (65535, "0 to 65535"), (1.2, f"0 to {float(values.max() * 1.2):g}")):
        photo = read_photo(save(tmp_path / "b.tif", (values * scale).astype(np.float32)))
        assert any(f"values {taken} were taken as black to white" in note for note in photo.notes), photo.notes
        expected = gray_scene(bits=16) if scale != 1.2 else gray_scene(bits=16) / values.max()
        np.testing.assert_allclose(photo.pixels, expected, atol=1)
    with pytest.raises(PhotoError, match="NaN"):
        read_photo(save(tmp_path / "b.tif", np.where(values > 0.5, np.nan, values).astype(np.float32)))


def test_integers_of_every_type_are_read(tmp_path: Path) -> None:
    """Microfilm scanners and scientific cameras write unusual types; white must stay white."""
    scene = gray_scene(bits=16)
    for values in (scene.astype(np.uint32) * 65537, (scene // 2).astype(np.int16), scene.astype(np.uint32)):
        photo = read_photo(save(tmp_path / "a.tif", values))
        np.testing.assert_allclose(photo.pixels, scene.astype(int), atol=2)
        assert any("were taken as black to white" in note for note in photo.notes)
    with pytest.raises(PhotoError, match="not supported"):
        read_photo(save(tmp_path / "a.tif", scene.astype(np.complex64)))


def test_inks_and_cielab_are_read(tmp_path: Path) -> None:
    scene = gray_scene()
    lab = np.zeros((*scene.shape, 3), np.uint8)
    lab[..., 0] = scene
    photo = read_photo(save(tmp_path / "lab.tif", lab, photometric="cielab"))
    expected = np.rint(lightness_to_gray(scene * (100 / 255)) * 255)
    np.testing.assert_allclose(photo.pixels.reshape(48, 64, -1)[..., 0], expected, atol=1)
    ink = np.zeros((*scene.shape, 4), np.uint16)
    ink[..., 3] = 65535 - scene.astype(np.uint16) * 257
    photo = read_photo(save(tmp_path / "cmyk.tif", ink, photometric="separated"))
    np.testing.assert_allclose(photo.pixels.reshape(48, 64, -1)[..., 0], scene.astype(int), atol=2)
    assert "16-bit CMYK was reduced to 8 bits" in photo.notes


@pytest.mark.parametrize("values", [[0, 65535], [65535, 0], [9000, 50000]])
def test_a_palette_of_one_bit(tmp_path: Path, values: Any) -> None:
    """Such a file ended in an unexpected IndexError."""
    bits = gray_scene() > 120
    table = (320, 3, 6, values * 3, True)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, bits, photometric="minisblack", extratags=[table], metadata=None)
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as file:
        at = file.pages[0].tags[262].valueoffset
    content = bytearray(buffer.getvalue())
    content[at : at + 2] = b"\3\0"  # tifffile reads palettes of one bit but writes none
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, (np.array(values) >> 8)[bits.astype(int)])


def test_sixteen_bits_with_a_colour_key(tmp_path: Path) -> None:
    """Such a file ended in an unexpected ValueError."""
    scene = gray_scene(bits=16)
    for name, pixels in (("gray", scene), ("rgb", np.repeat(scene[..., None], 3, 2))):
        coded = bytes(imagecodecs.png_encode(pixels))
        key = b"tRNS" + struct.pack(">H", int(scene[0, 0])) * (1 if pixels.ndim == 2 else 3)
        chunk = struct.pack(">I", len(key) - 4) + key + struct.pack(">I", zlib.crc32(key))
        (tmp_path / name).write_bytes(coded[:33] + chunk + coded[33:])
        photo = read_photo(tmp_path / name)
        np.testing.assert_array_equal(photo.alpha == 0, scene == scene[0, 0])
        np.testing.assert_array_equal(photo.pixels, scene)


def test_a_thumbnail_before_the_photograph_is_skipped(tmp_path: Path) -> None:
    """Some scanners write a thumbnail first without marking it as one."""
    for small_first in (True, False):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for page in (gray_scene()[::4, ::4], gray_scene())[:: 1 if small_first else -1]:
                writer.write(page, photometric="minisblack", metadata=None)
        photo = read_photo(tmp_path / "a.tif")
        np.testing.assert_array_equal(photo.pixels, gray_scene())
        which = "largest of its 2 pages, number 2," if small_first else "first of its 2 pages"
        assert photo.notes == (f"only the {which} was read",)


@pytest.mark.parametrize("suffix", ["jp2", "j2k", "bmp", "gif", "avif"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    """Archives hold JPEG 2000, and BMP from old software."""
    scene = gray_scene()
    path = tmp_path / "a"
    if suffix in ("jp2", "j2k"):
        path.write_bytes(imagecodecs.jpeg2k_encode(scene, level=0, codecformat=suffix))
    else:
        with path.open("wb") as file:
            Image.fromarray(scene).convert("RGB" if suffix == "avif" else "L").save(file, suffix, quality=100)
    photo = read_photo(path)
    assert photo.kind == "gray" and probe(path) == (photo.format, 64, 48, 8)
    np.testing.assert_allclose(photo.pixels, scene, atol=3 if suffix == "avif" else 0)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PhotoError, match=r"cut off|cannot be decoded|damaged"):
        read_photo(path)


def test_jpeg_2000_of_twelve_bits_keeps_its_metadata(tmp_path: Path) -> None:
    scene = gray_scene(bits=16) >> 4
    coded = bytes(imagecodecs.jpeg2k_encode(scene, level=0, bitspersample=12))
    box = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x/>"
    (tmp_path / "a.jp2").write_bytes(coded[:32] + struct.pack(">I4s", 8 + len(box), b"uuid") + box + coded[32:])
    photo = read_photo(tmp_path / "a.jp2")
    assert (photo.bits, photo.metadata.xmp) == (16, b"<x/>")
    np.testing.assert_allclose(photo.pixels, gray_scene(bits=16), atol=16)


@pytest.mark.parametrize(
    ("space", "said"), [(12, "in CMYK"), (14, "in CIELAB"), (24, "in colour space 24"), (16, None)]
)
def test_color_spaces_of_jpeg_2000_are_known_or_refused(space: int, said: str | None) -> None:
    """A fourth ink counted as transparency, and the photograph came out inverted."""
    coded = bytes(imagecodecs.jpeg2k_encode(np.dstack([color_scene()] + [gray_scene()] * (space == 12)), level=0))
    at = coded.index(b"colr") + 4
    content = coded[:at] + b"\1\0\0" + struct.pack(">I", space) + coded[at + 7 :]
    if said is None:
        assert decode_photo(content, Path("a")).kind == "color"
        return
    with pytest.raises(PhotoError, match=f"is a JPEG 2000 {said}, which is not supported"):
        decode_photo(content, Path("a"))


def test_a_subsampling_that_openjpeg_cannot_undo_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenJPEG printed its complaint on stderr."""
    content = bytearray(imagecodecs.jpeg2k_encode(color_scene(), level=0))
    content[content.index(b"\xff\x4f\xff\x51") + 44] = 2
    with pytest.raises(PhotoError, match="channels have different sizes"):
        decode_photo(bytes(content), Path("a"))
    assert capfd.readouterr().err == ""


def raw_profile(name: bytes, title: bytes, content: bytes) -> bytes:
    """A chunk in the form that ImageMagick and exiftool write."""
    text = b"\n%s\n%8d\n%s\n" % (title, len(content), content.hex().encode())
    body = b"zTXt" + b"Raw profile type " + name + b"\0\0" + zlib.compress(text)
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def test_raw_profiles_of_png(tmp_path: Path) -> None:
    """Captions and orientation were silently lost; exiftool's IPTC came out with a stray byte in front."""
    plain = bytes(imagecodecs.png_encode(gray_scene()))
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = 6, "Harbour, 1931"
    exif = tags.tobytes()
    datasets = b"\x1c\x02\x19\0\nlighthouse"
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(datasets)) + datasets + b"\0" * (len(datasets) % 2)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    for chunks, (turned, kept, packet) in {
        raw_profile(b"exif", b"exif", exif): (True, None, None),
        raw_profile(b"APP1", b"generic", exif): (True, None, None),
        raw_profile(b"APP1", b"generic", xmp): (False, None, b"<x/>"),
        raw_profile(b"xmp", b"xmp", b"<x/>"): (False, None, b"<x/>"),
        raw_profile(b"iptc", b"iptc", resource): (False, datasets, None),
        raw_profile(b"iptc", b"IPTC profile", datasets): (False, datasets, None),
        raw_profile(b"8bim", b"8bim", resource): (False, datasets, None),
    }.items():
        (tmp_path / "a.png").write_bytes(plain[:33] + chunks + plain[33:])
        photo = read_photo(tmp_path / "a.png")
        assert photo.pixels.shape == ((64, 48) if turned else (48, 64))
        assert (photo.metadata.iptc, photo.metadata.xmp) == (kept, packet)
        assert (photo.metadata.exif is not None) == turned and photo.notes == ()
    broken = raw_profile(b"exif", b"exif", exif).replace(b"Raw profile type exif", b"Raw profile type ipty")
    (tmp_path / "a.png").write_bytes(
        plain[:33] + broken[:-4] + struct.pack(">I", zlib.crc32(broken[4:-4])) + plain[33:]
    )
    assert read_photo(tmp_path / "a.png").notes == ("its metadata of type ipty are left out",)


def test_iptc_of_big_endian_tiff_is_not_byte_swapped(tmp_path: Path) -> None:
    """Old Photoshop declared it as LONG, and its bytes came out reversed in fours: `taob` for `boat`."""
    datasets = b"\x1c\x02\x19\0\x04boat\0\0\0"
    for kind, count in ((4, len(datasets) // 4), (7, len(datasets))):
        tag = (33723, kind, count, np.frombuffer(datasets, ">u4").tolist() if kind == 4 else datasets, True)
        tifffile.imwrite(tmp_path / "a.tif", gray_scene(), byteorder=">", extratags=[tag], metadata=None)
        assert read_photo(tmp_path / "a.tif").metadata.iptc == datasets


def gray_profile(gamma: float) -> bytes:
    """A minimal gray profile with a one-number curve."""
    tag = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    header = bytearray(128)
    header[12:24] = b"mntrGRAYXYZ "
    header[36:40] = b"acsp"
    body = struct.pack(">I4sII", 1, b"kTRC", 144, len(tag)) + tag
    profile = bytes(header) + body
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize(("name", "bits"), [("a.jpg", 8), ("a.png", 8), ("a.tif", 16)])
def test_gray_profiles_are_applied(tmp_path: Path, name: str, bits: int) -> None:
    """Without this, every tone of a scan made in Gray Gamma 1.8 comes out too dark."""
    gray = gray_scene(bits=bits)
    option = {"iccprofile" if name == "a.tif" else "icc_profile": gray_profile(1.8)}
    stored = read_photo(save(tmp_path / ("plain" + name), gray)).pixels
    photo = read_photo(save(tmp_path / name, gray, **option))
    top = (1 << bits) - 1
    linear = (stored / top) ** (round(1.8 * 256) / 256)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * top
    assert np.abs(photo.pixels - expected).max() <= 0.51
    assert np.abs(photo.pixels.astype(int) - stored).max() > 0.02 * top


def test_an_unreadable_profile_counts_as_srgb(tmp_path: Path) -> None:
    for profile in (b"rubbish", gray_profile(1.8)[:140], bytes(200)):
        path = save(tmp_path / "a.png", gray_scene(), icc_profile=profile)
        photo = read_photo(path)
        np.testing.assert_array_equal(photo.pixels, gray_scene())
        assert "colour profile was not applied" in photo.notes[0] and "damaged" in photo.notes[0]


def test_a_profile_for_another_kind_of_picture_is_noted(tmp_path: Path) -> None:
    """Tones of a scan in ProPhoto or Gray Gamma 1.8 came out wrong, without a word."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = output_profile("prophoto").icc
    notes = {
        name: read_photo(save(tmp_path / "a.tif", picture, iccprofile=profile)).notes
        for name, picture, profile in (
            ("gray in sRGB", gray_scene(), srgb),
            ("gray in RGB", gray_scene(), wide),
            ("RGB in gray", color_scene(), gray_profile(1.8)),
            ("RGB in RGB", color_scene(), wide),
        )
    }
    assert notes["gray in sRGB"] == notes["RGB in RGB"] == ()
    assert "it is for RGB, the picture is gray" in notes["gray in RGB"][0]
    assert "it is for gray, the picture is RGB" in notes["RGB in gray"][0]


def test_a_profile_that_makes_no_sense_is_not_applied(tmp_path: Path) -> None:
    """One with its primaries zeroed turned photographs into coloured noise, journalled as done."""
    profile = bytearray(output_profile("adobe-rgb").icc)
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        at = struct.unpack_from(">I", profile, profile.index(name) + 4)[0]
        profile[at + 8 : at + 20] = bytes(12)
    photo = read_photo(save(tmp_path / "a.tif", color_scene(), iccprofile=bytes(profile)))
    np.testing.assert_array_equal(photo.pixels, color_scene())
    assert "colour profile was not applied" in photo.notes[0]


@pytest.mark.parametrize("bits", [8, 16])
def test_srgb_by_any_name_changes_nothing_and_other_rgb_is_converted(tmp_path: Path, bits: int) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(tmp_path / "a.tif", color_scene(bits=bits), iccprofile=srgb)
    np.testing.assert_array_equal(read_photo(path).pixels, color_scene(bits=bits))
    wide = imagecodecs.cms_profile(
        "rgb", whitepoint=[0.3127, 0.329, 1], primaries=[0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1], gamma=2.2
    )
    photo = read_photo(save(tmp_path / "b.tif", color_scene(bits=bits), iccprofile=wide))
    top = (1 << bits) - 1
    red_as_stored, red = color_scene(bits=bits)[10, 40] / top, photo.pixels[10, 40] / top
    # the wide red primary is redder than sRGB's, so the same colour needs a higher code there
    assert red[0] > red_as_stored[0] + 0.02


def test_hostile_places(tmp_path: Path) -> None:
    """A pipe must not block the run, a folder called x.tif must not end it, a vanished file must give a sentence."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("pipe.jpg", "folder.tif", "loop.jpg", "gone.jpg"):
        with pytest.raises(PhotoError, match=name):
            read_photo(tmp_path / name)
        with pytest.raises(PhotoError):
            probe(tmp_path / name)


@pytest.mark.parametrize("name", ["été 写真 🎞.jpg", "a\nb.jpg", "x" * 251 + ".jpg", "é" * 125 + ".jpg"])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, gray_scene())
    assert read_photo(path).width == 64
    path.write_bytes(b"")
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)


def test_inputs_are_never_opened_for_writing(tmp_path: Path) -> None:
    paths = encoded_files(tmp_path)
    for path in paths:
        path.chmod(0o444)
        before = (path.stat().st_mtime_ns, path.read_bytes())
        read_photo(path)
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_reading_from_several_threads_gives_the_same_pixels(tmp_path: Path) -> None:
    paths = encoded_files(tmp_path)
    alone = [read_photo(path).pixels for path in paths]
    barrier = threading.Barrier(4)

    def work(_: int) -> list[np.ndarray]:
        barrier.wait()
        return [read_photo(path).pixels for path in paths]

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(work, range(4)):
            for a, b in zip(alone, result, strict=True):
                np.testing.assert_array_equal(a, b)


def test_png_text_bombs_are_not_unpacked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(gray_scene()).save(buffer, "PNG")
    data = buffer.getvalue()
    content = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(100 << 20), 9)
    bomb = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    path = tmp_path / "a.png"
    path.write_bytes(data[:33] + bomb + data[33:])
    photo = read_photo(path)
    assert photo.metadata.xmp is None
    np.testing.assert_array_equal(photo.pixels, gray_scene())


def test_a_read_that_fails_for_a_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One lost packet on a network share failed a photograph; a broken disk still does."""
    path = save(tmp_path / "a.png", gray_scene())
    faults, read_whole = [errno.ESTALE, errno.EIO], Source.whole

    def sometimes(self: Source) -> bytes:
        if faults:
            raise OSError(faults.pop(), "lost")
        return read_whole(self)

    monkeypatch.setattr(Source, "whole", sometimes)
    waits: list[float] = []
    monkeypatch.setattr("colorcli.files.time.sleep", waits.append)
    np.testing.assert_array_equal(read_photo(path).pixels, gray_scene())
    assert waits == sorted(waits) and len(waits) == 2
    faults.extend([errno.EIO] * 9)
    with pytest.raises(PhotoError, match=r"a\.png cannot be read: lost"):
        read_photo(path)
    faults[:] = [errno.EACCES]
    with pytest.raises(PhotoError):
        read_photo(path)
    assert faults == []


def test_what_no_output_carries_is_said(tmp_path: Path) -> None:
    """Georeferencing, credentials and clipping paths were silently dropped."""

    def notes(name: str, content: bytes) -> tuple[str, ...]:
        (tmp_path / name).write_bytes(content)
        return read_photo(tmp_path / name).notes

    jpeg = save(tmp_path / "a.jpg", gray_scene()).read_bytes()
    paths = b"Photoshop 3.0\x008BIM" + struct.pack(">HHI", 2000, 0, 4) + b"path"

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    more = segment(0xEB, b"JP\0\1rest") + segment(0xED, paths) + segment(0xEC, b"Ducky") + segment(0xE5, b"Vendor")
    said = "left out of its metadata: Content Credentials or other JUMBF, APP5 segment, clipping paths"
    assert notes("a.jpg", jpeg[:2] + more + jpeg[2:]) == (said,)
    png = save(tmp_path / "a.png", gray_scene()).read_bytes()

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    more = chunk(b"caBX", b"x") + chunk(b"tIME", bytes(7)) + chunk(b"vpAg", b"x")
    assert notes("a.png", png[:33] + more + png[33:]) == ("left out of its metadata: Content Credentials, chunk vpAg",)
    tags = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (65000, "H", 1, 5, True), (34735, "H", 4, (1, 1, 0, 0), True)]
    path = save(tmp_path / "a.tif", gray_scene(), extratags=tags)
    assert read_photo(path).notes == ("left out of its metadata: georeferencing, TIFF tag 65000",)
    jp2 = bytes(imagecodecs.jpeg2k_encode(gray_scene(), level=0, codecformat="jp2"))
    box = struct.pack(">I4s", 12, b"xml ") + b"<a/>"
    assert notes("a.jp2", jp2[:32] + box + jp2[32:]) == ("left out of its metadata: XML boxes",)
    webp = save(tmp_path / "a.webp", gray_scene(), lossless=True, xmp=b"<x/>").read_bytes()
    assert read_photo(tmp_path / "a.webp").notes == ()
    grown = webp + b"C2PA" + struct.pack("<I", 4) + b"cred"
    grown = grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:]
    assert notes("a.webp", grown) == ("left out of its metadata: Content Credentials",)


def test_heif_and_dng_are_read_if_their_libraries_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phones write HEIF and copy stands DNG; without the library, the error says how to install it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pytest.importorskip("rawpy")
    gray = np.tile(gray_scene(), (5, 5))
    pillow_heif.from_pillow(Image.fromarray(gray)).save(tmp_path / "a.heic", quality=-1)
    matrix = tuple(n for v in (310, -160, -50, -100, 190, 0, 10, -20, 140) for n in (v, 100))
    tags: list[Any] = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True), (50708, "s", 0, "Test Camera", True), (271, "s", 0, "Test", True),
        (272, "s", 0, "Camera", True), (50717, "H", 1, 16383, True), (50778, "H", 1, 21, True),
        (50721, 10, 9, matrix, True),
        (50728, 5, 3, (1, 1) * 3, True),
    ]  # fmt: skip
    tifffile.imwrite(tmp_path / "a.dng", gray.astype(np.uint16) * 64, photometric=32803, metadata=None, extratags=tags)
    photo = read_photo(tmp_path / "a.heic")
    assert (photo.format, photo.kind) == ("HEIF", "gray") and probe(photo.path) == ("HEIF", 320, 240, 8)
    assert np.abs(photo.pixels.astype(int) - gray).max() <= 3
    photo = read_photo(tmp_path / "a.dng")
    assert (photo.format, photo.bits, photo.notes[0][:10]) == ("DNG", 16, "camera raw")
    assert np.corrcoef(photo.pixels[..., 1].ravel(), gray.ravel())[0, 1] > 0.9
    for module, library, name in (("pillow_heif", "pillow-heif", "a.heic"), ("rawpy", "rawpy", "a.dng")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(PhotoError, match=rf"needs the library {library}, which is not installed: .*pip install"):
            read_photo(tmp_path / name)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_interlaced_pngs_are_read_without_a_word(channels: int, depth: int, capfd: pytest.CaptureFixture[str]) -> None:
    """libpng's warning of each tore the progress line of a terminal."""
    picture = np.random.default_rng(0).integers(0, 2**depth - 1, (11, 13, channels)).astype(f">u{depth // 8}")
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for y, x, down, across in passes for row in picture[y::down, x::across]]
    header = struct.pack(">IIBBBBB", 13, 11, depth, (0, 4, 2, 6)[channels - 1], 0, 0, 1)
    chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)), b"IEND")
    content = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    photo = decode_photo(b"\x89PNG\r\n\x1a\n" + content, Path("a.png"))
    colors = picture[..., :3] if channels > 2 else picture[..., 0]
    np.testing.assert_array_equal(photo.pixels, colors)
    opacity = None if photo.alpha is None else photo.alpha.tolist()
    assert opacity == (None if channels % 2 else picture[..., -1].tolist())
    assert capfd.readouterr().err == ""


def test_what_libraries_cannot_read_ends_in_a_sentence(tmp_path: Path) -> None:
    """A museum's JPEG 2000 ended in a NotImplementedError, an odd BMP in "could not initialize a plug-in"."""
    coded = bytearray(imagecodecs.jpeg2k_encode(np.repeat(gray_scene()[..., None], 3, 2), level=0, codecformat="j2k"))
    at = coded.index(b"\x07\x01\x01\x07\x01\x01")
    coded[at + 4 : at + 6] = b"\2\2"
    (tmp_path / "a.j2k").write_bytes(coded)
    with pytest.raises(PhotoError, match=r"different sizes|cannot be decoded"):
        read_photo(tmp_path / "a.j2k")
    Image.fromarray(gray_scene()).save(tmp_path / "a.bmp")
    bmp = bytearray((tmp_path / "a.bmp").read_bytes())
    bmp[28:30] = struct.pack("<H", 2)
    (tmp_path / "a.bmp").write_bytes(bmp)
    with pytest.raises(PhotoError, match=r"cannot be decoded: Unsupported BMP pixel depth \(2\)\.$"):
        read_photo(tmp_path / "a.bmp")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "JPEG2000"])
def test_exiftool_finds_what_was_kept(tmp_path: Path, form: str) -> None:
    """Archives look with exiftool, not with colorcli: what exiftool does not find is lost to them."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "Harbour, 1931", "Anna Miller"
    exif.get_ifd(0x8769)[0x9003] = "1931:06:03 10:00:00"
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Box 12"/></rdf:RDF>'
        b"</x:xmpmeta>"
    )
    metadata = Metadata(
        exif=exif.tobytes().removeprefix(b"Exif\0\0"),
        xmp=packet,
        iptc=b"\x1c\x02\x19\0\x0alighthouse\x1c\x02\x78\0\x04boat",
        resolution=Resolution(300, 300, "inch"),
    )
    target = tmp_path / f"a{FORMATS[form].suffixes[0]}"
    write_photo(
        target, [color_scene()], height=48, width=64, bits=8, format=form, provenance=PROVENANCE, metadata=metadata
    )
    found = json.loads(subprocess.run(["exiftool", "-j", "-G1", target], capture_output=True, check=True).stdout)[0]
    values = {key.partition(":")[2]: value for key, value in found.items()}
    assert values["Source"] == "Box 12" and "trained" in values["DigitalSourceType"].lower()
    assert values["ImageDescription"] == "Harbour, 1931" and values["Artist"] == "Anna Miller"
    assert values["DateTimeOriginal"] == "1931:06:03 10:00:00"
    if form != "WEBP":
        assert values["Keywords"] == "lighthouse" and values["Caption-Abstract"] == "boat"
    assert not [value for key, value in values.items() if key in ("Warning", "Error")], values


def _old_style(stream: bytes, samples: int, *, in_parts: bool = False) -> bytes:
    """A TIFF with old-style JPEG compression (TIFF 6.0, section 22): a whole JPEG stream, or its tables in tags."""
    tags = [
        (256, 4, 96), (257, 4, 64), (258, 3, 8), (259, 3, 6), (262, 3, 6 if samples == 3 else 1), (273, 4, 8),
        (277, 3, samples), (278, 4, 64), (279, 4, len(stream)), (512, 3, 1),
        *([] if in_parts else [(513, 4, 8), (514, 4, len(stream))]),
    ]  # fmt: skip
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, one) for tag, kind, one in tags)
    stream += b"\0" * (len(stream) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(stream)) + stream + table + bytes(4)


@pytest.mark.parametrize("samples", [1, 3])
def test_old_style_jpeg_in_tiff(samples: int) -> None:
    """Scanner programs of the nineties wrote it; a first version called it YCbCr without JPEG compression."""
    picture = Image.fromarray(gray_scene()).resize((96, 64)).convert("L" if samples == 1 else "RGB")
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    whole = stream.getvalue()
    photo = decode_photo(_old_style(whole, samples), Path("a.tif"))
    difference = photo.pixels.astype(int) - np.asarray(picture.convert("L"))
    assert photo.kind == "gray" and np.abs(difference).max() < 30 and np.abs(difference).mean() < 3
    with pytest.raises(PhotoError, match=r"damaged|old-style JPEG|cannot be decoded"):
        decode_photo(_old_style(whole[: len(whole) // 2], samples), Path("a.tif"))
    if samples == 3:
        with pytest.raises(PhotoError, match="old-style JPEG compression in parts"):
            decode_photo(_old_style(whole, samples, in_parts=True), Path("a.tif"))
        # a stream of tables only, whose picture is elsewhere, was called damaged
        tables = whole[: whole.index(b"\xff\xda") + 11] + b"\0\0\0" + whole[whole.index(b"\xff\xda") + 14 :]
        with pytest.raises(PhotoError, match="a kind of old-style JPEG compression that is not supported"):
            decode_photo(_old_style(tables, samples), Path("a.tif"))
