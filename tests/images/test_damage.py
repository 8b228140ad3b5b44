"""Damaged files are found and refused by name; with ``salvage`` what is left is read, and a note says so."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from colorcli.errors import PhotoError
from colorcli.images.photo import Photo
from colorcli.images.read import decode_photo, probe

from .conftest import gray_scene

SCENE = np.tile(gray_scene(), (4, 4)) ^ np.random.default_rng(1).integers(0, 16, (192, 256), dtype=np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, 1 << 12, dtype=np.uint8).tobytes()


def encoded(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SCENE).save(buffer, form, **options)
    return buffer.getvalue()


def tiff(scene: np.ndarray = SCENE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, scene, metadata=None, photometric="minisblack", **options)
    return buffer.getvalue()


JPEG = encoded("JPEG", quality=92)
TWELVE_BITS = SCENE.astype(np.uint16) << 4
FILES = {
    "jpeg": JPEG,
    "progressive": encoded("JPEG", quality=92, progressive=True),
    "png": encoded("PNG"),
    "deflate": tiff(compression="deflate", rowsperstrip=16),
    "lzw": tiff(compression="lzw", rowsperstrip=16),
    "jpeg_tiff": tiff(compression="jpeg", rowsperstrip=16, compressionargs={"level": 92}),
    "tiles": tiff(compression="deflate", tile=(32, 32)),
    "jpeg_12": bytes(imagecodecs.jpeg8_encode(TWELVE_BITS, bitspersample=12, level=92)),
    "jpeg_tiff_12": tiff(TWELVE_BITS, compression="jpeg", rowsperstrip=16, bitspersample=12),
}


def read(content: bytes, *, salvage: bool = False) -> Photo:
    return decode_photo(content, Path("a"), salvage=salvage)


def overwritten(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + NOISE[: len(content) // 8] + content[middle + len(content) // 8 :]


@pytest.mark.parametrize("name", FILES)
def test_an_overwritten_middle_is_found(name: str) -> None:
    """Half a photograph with a gray rest, journalled as done, would be noticed years later, without the original."""
    damaged = overwritten(FILES[name])
    with pytest.raises(PhotoError, match=r"damaged|cannot be decoded|cut off") as caught:
        read(damaged)
    assert "--salvage" in str(caught.value)
    photo = read(damaged, salvage=True)
    assert photo.pixels.shape[:2] == SCENE.shape
    assert [note for note in photo.notes if note.startswith("damaged: ")], photo.notes
    whole = read(FILES[name]).pixels
    assert np.array_equal(photo.pixels[:16], whole[:16]) or name == "progressive", "what is sound is kept"
    assert not np.array_equal(photo.pixels, whole)


@pytest.mark.parametrize("name", [name for name in FILES if name != "tiles"])
def test_a_cut_is_found_whatever_was_appended(name: str) -> None:
    """A program that "repairs" a truncated JPEG by adding an end marker makes it look whole."""
    content = FILES[name]
    half = content[: len(content) // 2]
    for damaged in (half, half + b"\xff\xd9") if content.startswith(b"\xff\xd8") else (half,):
        with pytest.raises(PhotoError, match=r"cut off|damaged"):
            read(damaged)
    if name in ("jpeg", "png"):
        share = float(re.findall(r"at least ([\d.]+) %", read(half, salvage=True).notes[-1])[0])
        assert 35 < share < 65


def test_padding_before_the_end_marker_is_no_damage() -> None:
    """Some cameras and scanners write such padding into every file."""
    for padding in (bytes(40), b"\xff" * 40):
        assert np.array_equal(read(JPEG[:-2] + padding + JPEG[-2:]).pixels, read(JPEG).pixels)


def test_a_checked_jpeg_has_the_same_pixels_as_pillows() -> None:
    for content in (JPEG, FILES["progressive"]):
        assert np.array_equal(read(content).pixels, np.asarray(Image.open(io.BytesIO(content))))


def stating(content: bytes, width: int, height: int) -> bytes:
    """A file whose header states another size."""
    if content.startswith(b"\xff\xd8"):
        at = content.index(b"\xff\xc0")
        return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]
    if content.startswith(b"\x89PNG"):
        head = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    file = bytearray(content)
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        for tag, value in ((256, width), (257, height), (278, height)):
            found = tif.pages[0].tags[tag]
            struct.pack_into("<I" if found.dtype == 4 else "<H", file, found.valueoffset, min(value, 65535))
    return bytes(file)


@pytest.mark.parametrize("name", ["jpeg", "png", "deflate", "lzw"])
def test_memory_is_bounded_by_what_the_file_can_hold(name: str, tmp_path: Path) -> None:
    """A file of 14 kB took 4 GB of memory, and the plan listed it as a photograph of 900 megapixels."""
    path = tmp_path / "a"
    path.write_bytes(stating(FILES[name], 30000, 30000))
    for look in (lambda: read(path.read_bytes()), lambda: probe(path)):
        with pytest.raises(PhotoError, match="cannot hold the 30000 x 30000 it states"):
            look()


BILEVEL = Image.fromarray(SCENE).convert("1")


def bilevel(compression: str, **tags: Any) -> bytes:
    buffer = io.BytesIO()
    BILEVEL.save(buffer, "TIFF", compression=compression, **tags)
    return buffer.getvalue()


STRICT = {
    "group4": bilevel("group4"),
    "group3": bilevel("group3"),
    "group3 of two dimensions": bilevel("group3", tiffinfo={292: 5}),
    "huffman": bilevel("tiff_ccitt"),
    "gif": encoded("GIF"),
}


@pytest.mark.parametrize("name", STRICT)
def test_flipped_bits_of_faxes_and_gifs_are_found(name: str) -> None:
    """Their decoders go on after damage and silently leave streaks across the page."""
    content = STRICT[name]
    assert read(content).notes == ()
    rng = np.random.default_rng(5)
    silent = 0
    for _ in range(40):
        at = int(rng.integers(len(content) // 4, 3 * len(content) // 4))
        flipped = bytearray(content)
        flipped[at] ^= int(rng.integers(1, 255))
        try:
            read(bytes(flipped))
            silent += 1
        except PhotoError as error:
            assert "damaged" in str(error) or "cannot be decoded" in str(error)
    assert silent <= (20 if name == "gif" else 4)


def test_a_fax_with_its_bits_the_other_way_round_is_checked_too() -> None:
    content = bytearray(bilevel("group4", tiffinfo={266: 2}))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as tif:
        page = tif.pages[0]
        assert page.fillorder == 2
        middle = page.dataoffsets[0] + page.databytecounts[0] // 2
    assert np.array_equal(read(bytes(content)).pixels, read(STRICT["group4"]).pixels)
    content[middle] ^= 0x5A
    with pytest.raises(PhotoError, match="is damaged in 1 of its"):
        read(bytes(content))


@pytest.mark.parametrize("width", [1, 7, 64, 301, 3001])
@pytest.mark.parametrize("compression", ["group4", "group3", "tiff_ccitt"])
def test_sound_faxes_of_every_width_pass(width: int, compression: str) -> None:
    """A checker that is too strict would fail a whole archive of sound faxes."""
    rng = np.random.default_rng(width)
    for picture in (
        rng.random((40, width)) > 0.5,
        np.repeat(rng.random((40, 1)) > 0.5, width, 1),
        np.zeros((9, width)),
    ):
        buffer = io.BytesIO()
        Image.fromarray(picture.astype(np.uint8) * 255).convert("1").save(buffer, "TIFF", compression=compression)
        assert np.array_equal(read(buffer.getvalue()).pixels > 0, picture > 0)


@pytest.mark.parametrize("form", ["BMP", "GIF", "WEBP", "JPEG2000"])
def test_no_cut_file_of_other_formats_counts_as_whole(form: str) -> None:
    content = encoded(form)
    for tenth in range(10):
        with pytest.raises(PhotoError):
            read(content[: len(content) * tenth // 10])


def runs() -> bytes:
    """A BMP in runs of one row each, which Pillow reads and does not write."""
    plain = encoded("BMP")
    rows = b"".join(bytes([255, row, 1, row]) + b"\0\0" for row in range(SCENE.shape[0]))
    content = bytearray(plain[: struct.unpack_from("<I", plain, 10)[0]] + rows + b"\0\1")
    struct.pack_into("<I", content, 2, len(content))
    struct.pack_into("<II", content, 30, 1, len(rows) + 2)
    return bytes(content)


def four_colours() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SCENE).quantize(4).save(buffer, "GIF", interlace=0)
    return buffer.getvalue()


CUT = {
    "BMP": encoded("BMP"),
    "BMP in runs": runs(),
    "GIF": encoded("GIF"),
    "GIF of four colours": four_colours(),
    "lossy WebP": encoded("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "lossless WebP": encoded("WEBP", lossless=True),
    "tiles of JPEG 2000": encoded("JPEG2000", tile_size=(64, 64), no_jp2=True),
    "JP2 in tiles": encoded("JPEG2000", tile_size=(64, 64)),
}


@pytest.mark.parametrize("name", CUT)
def test_what_is_left_of_a_cut_file_is_coloured(name: str) -> None:
    """The only copy of a photograph, on a disk that is dying: ``--salvage`` was named, and then failed as well."""
    content = CUT[name]
    whole = read(content).pixels
    # nearly half of the one in runs is its palette
    cut = content[: len(content) * (8 if name == "BMP in runs" else 6) // 10]
    with pytest.raises(PhotoError, match=r"--salvage colours"):
        read(cut)
    photo = read(cut, salvage=True)
    (note,) = [note for note in photo.notes if note.startswith("damaged: ")]
    share = float(re.findall(r"(?:about|at least) ([\d.]+) %", note)[0])
    assert 20 < share < 60 and photo.pixels.shape == whole.shape
    sound = np.abs(photo.pixels.astype(int) - whole).reshape(len(whole), -1).max(axis=1) == 0
    assert sound.sum() > 0.3 * len(whole), "what is sound is kept"
    assert not sound.all()


def test_frames_after_the_first_may_be_damaged() -> None:
    """An IndexError of Pillow's, of a public test image whose first frame is whole."""
    buffer = io.BytesIO()
    frames = [Image.fromarray(SCENE), Image.fromarray(255 - SCENE)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    content = buffer.getvalue()
    second = content.index(b"\x2c", content.index(b"\x2c") + 2000)
    while content[second - 8 : second - 6] != b"\x21\xf9":  # the separator after a graphic control extension
        second = content.index(b"\x2c", second + 1)
    photo = read(content[: second + 10])
    assert np.array_equal(photo.pixels, read(encoded("GIF")).pixels)
    assert photo.notes == ("only the first frame of an animation was read",)


def test_what_cannot_be_salvaged_is_not_said_to_be() -> None:
    """A JPEG 2000 of one tile, which OpenJPEG refuses as a whole."""
    for content in (encoded("JPEG2000"), encoded("JPEG2000", no_jp2=True)):
        for salvage in (False, True):
            with pytest.raises(PhotoError, match=r"is cut off: .*so nothing can be salvaged") as caught:
                read(content[: len(content) // 2], salvage=salvage)
            assert "--salvage" not in str(caught.value)


def test_a_tile_of_jpeg_2000_that_is_missing_is_found() -> None:
    """OpenJPEG silently leaves it black."""
    content = encoded("JPEG2000", tile_size=(64, 64), no_jp2=True)
    at = content.rindex(b"\xff\x90\x00\x0a")
    with pytest.raises(PhotoError, match="1 of its 12 tiles are missing"):
        read(content[:at] + b"\xff\xd9")
    assert "damaged" in read(content[:at] + b"\xff\xd9", salvage=True).notes[0]


def test_memory_for_other_formats_is_bounded_before_decoding(tmp_path: Path) -> None:
    """A few hundred bytes that claim gigabytes of pixels must not be decoded."""
    small = Image.fromarray(SCENE[:16, :16])
    files = {}
    for form in ("BMP", "GIF", "WEBP"):
        buffer = io.BytesIO()
        small.save(buffer, form)
        files[form] = bytearray(buffer.getvalue())
    struct.pack_into("<ii", files["BMP"], 18, 30000, 30000)
    struct.pack_into("<HH", files["GIF"], 6, 30000, 30000)
    at = files["WEBP"].index(b"\x9d\x01\x2a") + 3
    struct.pack_into("<HH", files["WEBP"], at, 16383, 16383)
    tiles = bytearray(encoded("JPEG2000", no_jp2=True))
    struct.pack_into(">II", tiles, 8, 30000, 30000)
    struct.pack_into(">II", tiles, 24, 64, 64)
    one_tile = bytearray(encoded("JPEG2000", no_jp2=True))
    struct.pack_into(">II", one_tile, 8, 60000, 60000)
    struct.pack_into(">II", one_tile, 24, 60000, 60000)
    lossless = bytearray(encoded("WEBP", lossless=True)[:200])
    struct.pack_into("<I", lossless, 21, 16382 | 16382 << 14)
    in_runs = bytearray(runs())
    struct.pack_into("<ii", in_runs, 18, 30000, 30000)
    for content in (*files.values(), tiles, one_tile, lossless, in_runs):
        path = tmp_path / "a"
        path.write_bytes(content)
        with pytest.raises(PhotoError, match="cannot hold"):
            probe(path)
