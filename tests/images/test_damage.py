"""Damaged files are found and refused by name; with ``salvage`` what is left is read, and a note says so."""

from __future__ import annotations

import base64
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


def scans(content: bytes) -> list[int]:
    """Offsets of a JPEG's scans."""
    return [found.start() for found in re.finditer(rb"\xff\xda", content)]


@pytest.mark.parametrize("space", ["L", "RGB"])
@pytest.mark.parametrize("kept", [1, 3, -1])
def test_a_progressive_jpeg_without_its_later_scans_is_found(kept: int, space: str) -> None:
    """libjpeg takes a file cut between two scans as whole: a coarse picture, or none of its colour, counted as done."""
    buffer = io.BytesIO()
    Image.fromarray(SCENE).convert(space).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    damaged = content[: scans(content)[kept]] + b"\xff\xd9"
    with pytest.raises(PhotoError, match="scans of its picture are missing; --salvage"):
        read(damaged)
    assert read(damaged, salvage=True).notes == ("damaged: an unknown part of the picture is missing",)
    assert read(content).notes == ()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def test_damage_in_a_jpegs_metadata_is_none_of_the_picture() -> None:
    """libjpeg warns of incomplete colour profiles too: sound photographs failed as damaged beyond repair."""
    half = segment(0xE2, b"ICC_PROFILE\0\x01\x02" + bytes(200))
    photo = read(JPEG[:2] + half + JPEG[2:])
    assert photo.notes == ("left out of its metadata: its colour profile, which is damaged",)
    np.testing.assert_array_equal(photo.pixels, read(JPEG).pixels)


def test_stray_bytes_in_a_jpegs_header_can_be_salvaged() -> None:
    damaged = JPEG[:20] + b"stray\xff\0" + JPEG[20:]
    with pytest.raises(PhotoError, match="7 bytes belong to none of its segments; --salvage"):
        read(damaged)
    photo = read(damaged, salvage=True)
    np.testing.assert_array_equal(photo.pixels, read(JPEG).pixels)
    assert "no part of the picture seems to be missing" in photo.notes[0]


def test_a_missing_end_marker_is_said() -> None:
    assert "its end marker is missing" in read(JPEG[:-2], salvage=True).notes[0]


def test_a_lost_restart_interval_is_not_the_rest_of_the_picture() -> None:
    """libjpeg goes on after the next restart marker, but 99 % of the picture were said to be missing."""
    content = encoded("JPEG", quality=92, restart_marker_blocks=32)
    lost = content.find(b"\xff\xd1"), content.find(b"\xff\xd2")
    photo = read(content[: lost[0]] + content[lost[1] :], salvage=True)
    assert photo.notes == (f"damaged: at least {100 / (192 / 8):.1f} % of the picture is missing",)


def test_illegal_markers_do_not_hide_what_is_sound() -> None:
    middle = len(JPEG) // 2
    photo = read(JPEG[:middle] + b"\xff" * 300 + b"\x42" + JPEG[middle:], salvage=True)
    (share,) = re.findall(r"at least ([\d.]+) %", photo.notes[0])
    assert 30 < float(share) < 60


def test_further_pictures_in_a_jpeg_are_noted() -> None:
    """Cameras add a second picture (MPO): it is not coloured, and nobody was told."""
    assert read(JPEG + JPEG).notes == ("only the first of its pictures was read",)
    assert read(JPEG + b"trailing bytes" * 100).notes == ()


@pytest.mark.parametrize("compression", ["adobe_deflate", "packbits", "zstd"])
def test_a_last_strip_filled_up_to_the_others_rows_is_no_damage(compression: str) -> None:
    """Some programs pack as many rows into the last strip as into the others: their scans failed as damaged."""
    rows = 20
    pack = {
        "adobe_deflate": zlib.compress,
        "packbits": lambda raw: imagecodecs.packbits_encode(np.frombuffer(raw, np.uint8)),
        "zstd": imagecodecs.zstd_encode,
    }[compression]
    strips = [SCENE[y : y + rows].tobytes().ljust(rows * SCENE.shape[1], b"\0") for y in range(0, len(SCENE), rows)]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, (bytes(pack(strip)) for strip in strips), shape=SCENE.shape, dtype=SCENE.dtype, rowsperstrip=rows,
        compression=compression, photometric="minisblack", metadata=None,
    )  # fmt: skip
    photo = read(buffer.getvalue())
    np.testing.assert_array_equal(photo.pixels, SCENE)
    assert photo.notes == ()


# 48 x 32 pixels from libjpeg-turbo's cjpeg -arithmetic; no Python library writes it
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ"
    "YEpRUk//yQALCAAgADABAREA/8wABgAQEAX/2gAIAQEAAD8A/wBmCHE3Sq5VbxyEEk9/L9genvXVyZCTxUiAiPR0eg3NcfOSjZPJMdvd/wBS713O"
    "Tg4NEZ1zzomY0yrcuVvdOBi4ALP1GZYuozTZudBmSy4Cr8dO3XVZv/h3hZ5jCLtAIxOzHWP6uDHVL9+I28Dt8d9Fvep7RG93lv5iO6tvtUYBh8D6"
    "pDuEgBZ9uT6a8gucEkcB3T5r4z8b8NEzsI/RGPT2N9WffHxC/sSBqIhCNf8AZZKfsL4aYnfNoP/Z"
)


@pytest.mark.parametrize("share", [0.6, 0.8, 0.93])
def test_a_cut_arithmetic_coded_jpeg_is_found(share: float) -> None:
    """libjpeg reads zeros where its data end, without a warning: half a picture counted as done."""
    assert (photo := read(ARITHMETIC)).pixels.shape == (32, 48) and not photo.notes
    with pytest.raises(PhotoError, match="the data of its picture end early"):
        read(ARITHMETIC[: int(share * len(ARITHMETIC))] + b"\xff\xd9")


def test_a_compression_of_tiff_that_nobody_here_reads_is_named() -> None:
    """It was said to be salvageable, under its name in a Python library."""
    content = tiff()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        at = file.pages.first.tags["Compression"].valueoffset
    with pytest.raises(PhotoError, match=r"^a is a TIFF with JBIG compression, which is not supported\.$"):
        read(content[:at] + struct.pack("<H", 34661) + content[at + 2 :])


def stating_sizes(content: bytes, sizes: dict[int, int]) -> bytes:
    """A TIFF that states other sizes for some of its strips, by index."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tag = file.pages.first.tags["StripByteCounts"]
    form = "<" + {3: "H", 4: "I"}[int(tag.dtype)]
    made = bytearray(content)
    for index, size in sizes.items():
        struct.pack_into(form, made, tag.valueoffset + struct.calcsize(form) * index, size)
    return bytes(made)


@pytest.mark.parametrize("compression", ["none", "adobe_deflate", "lzw", "jpeg"])
@pytest.mark.parametrize("size", [0, 60000])
def test_sizes_of_strips_that_are_missing_or_wrong_are_derived(compression: str, size: int) -> None:
    """libtiff estimates them, so that other programs show these files; they failed as cut off."""
    content = tiff(compression=compression, rowsperstrip=16)
    photo = read(stating_sizes(content, {1: size, 2: size}))
    np.testing.assert_array_equal(photo.pixels, read(content).pixels)
    assert photo.notes == ("the sizes of its strips or tiles are missing or wrong, and were derived",)


@pytest.mark.parametrize("compression", ["none", "adobe_deflate", "lzw"])
@pytest.mark.parametrize("size", [0, 60000])
def test_a_cut_is_found_though_sizes_of_strips_are_derived(compression: str, size: int) -> None:
    """What ends early must not count as whole because its size was taken from where the file ends."""
    content = tiff(compression=compression, rowsperstrip=len(SCENE))
    whole = stating_sizes(content, {0: size})
    np.testing.assert_array_equal(read(stating_sizes(content, {0: 0})).pixels, read(content).pixels)
    with pytest.raises(PhotoError, match=r"cut off|damaged|missing|leaves parts|nothing of its picture"):
        read(whole[:-40])


def test_an_uncompressed_strip_that_is_too_short_is_damage() -> None:
    content = stating_sizes(tiff(rowsperstrip=16), {1: 100})
    with pytest.raises(PhotoError, match="is damaged in 1 of its"):
        read(content)


@pytest.mark.parametrize("colors", [None, 2])
def test_colors_that_a_palette_lacks_are_damage(colors: int | None) -> None:
    """Pillow makes them black: a PNG that had lost its palette was coloured as a black photograph, and done."""
    buffer = io.BytesIO()
    Image.fromarray(SCENE).quantize(16).save(buffer, "PNG")
    content = buffer.getvalue()
    start = content.index(b"PLTE") - 4
    end = start + 12 + struct.unpack_from(">I", content, start)[0]
    palette = b"" if colors is None else chunk(b"PLTE", content[start + 8 : start + 8 + 3 * colors])
    with pytest.raises(PhotoError, match=f"has colours that its palette of {colors or 0} lacks"):
        read(content[:start] + palette + content[end:])
    assert read(content).notes == ()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (b"iCCP", b"x\0\0not packed", "its colour profile, which is damaged"),
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 25)), "its colour profile, which is damaged"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0not packed", "XMP, which is damaged or too large"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1 << 25)), "XMP, which is damaged or too large"),
        (b"tEXt", b"Comment\0" + b"x" * (1 << 20), "a text of more than 1 MB"),
    ],
)
def test_metadata_of_png_that_cannot_be_kept_are_noted(name: bytes, content: bytes, said: str) -> None:
    """They were left out without a word."""
    whole = encoded("PNG")
    photo = read(whole[:33] + chunk(name, content) + whole[33:])
    assert photo.notes == (f"left out of its metadata: {said}",)
    np.testing.assert_array_equal(photo.pixels, SCENE)


def test_a_colour_key_of_the_wrong_size_is_ignored_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """libpng printed a warning on stderr."""
    deep = bytes(imagecodecs.png_encode(SCENE.astype(np.uint16) * 257))
    assert read(deep[:33] + chunk(b"tRNS", b"\0") + deep[33:]).alpha is None
    assert capfd.readouterr().err == ""


def test_bytes_after_a_webp_are_no_chunk_of_it() -> None:
    assert read(encoded("WEBP") + b"padding of some writer").notes == ()


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_libraries_reasons_are_one_line_that_says_something(form: str) -> None:
    """Pillow's words said nothing, and libheif's line break split the line of a log."""
    if form == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(SCENE)).save(buffer)
        content = buffer.getvalue()
    else:
        content = encoded("AVIF")
    with pytest.raises(PhotoError) as caught:
        read(content[: len(content) // 2])
    assert "\n" not in str(caught.value) and "provided bytes" not in str(caught.value)
