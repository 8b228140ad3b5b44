"""The table of formats agrees with what each codec does."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import PurePosixPath

import pytest

from colorcli.errors import UsageError
from colorcli.images.formats import (
    FORMATS,
    OPTIONS,
    SUFFIXES,
    PhotoFormat,
    format_of_name,
    format_of_option,
    is_photograph_name,
    output_format,
    suffix_of,
)

RECORDS = pytest.mark.parametrize("record", FORMATS.values(), ids=FORMATS)


@RECORDS
def test_every_record_has_its_codec(record: PhotoFormat) -> None:
    """Every photograph in a format that is listed but has no reader would fail."""
    assert callable(record.decoder.header) and callable(record.decoder.decode)
    assert record.written == hasattr(record.encoder, "encode")


def test_no_two_formats_claim_one_name() -> None:
    """The second of them would never be found."""
    suffixes = Counter(suffix for record in FORMATS.values() for suffix in record.suffixes)
    options = Counter(option for record in FORMATS.values() for option in record.options)
    assert set(suffixes.values()) == set(options.values()) == {1}
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    assert all(format_of_name(f"A{suffix.upper()}") == OPTIONS[suffix[1:]] for suffix in (".jpg", ".png", ".tif"))


def test_names_of_photographs() -> None:
    """By suffix, what macOS and killed runs leave behind looks like photographs."""
    assert is_photograph_name("1912.06.03-a.TIF") and is_photograph_name(".jpg.jpg")
    assert not any(map(is_photograph_name, ("._a.jpg", ".jpg", "a", "a.txt", ".colorcli-0123456789abcdef.part")))


@pytest.mark.parametrize(
    "name", ["a.jpg", "b/a.tar.gz", "a", "a.", ".jpg", "..jpg", "b.c/a", "b/.a.tif", "1912.06.03-a.TIF", "a .x", ""]
)
def test_a_suffix_is_what_it_is_elsewhere(name: str) -> None:
    """The plan would call an output by another name than the writer."""
    assert suffix_of(name) == PurePosixPath(name).suffix


def test_a_format_that_is_not_written_is_refused_in_a_sentence() -> None:
    assert format_of_option("TIF") == "TIFF"
    with pytest.raises(UsageError, match=r"--format must be one of jpeg, png, tiff, webp.*, not 'bmp'"):
        format_of_option("bmp")


def test_what_is_written_keeps_its_format() -> None:
    """A TIFF with a JPEG's name stays a TIFF, so that nothing is lost."""
    assert output_format("TIFF", "a.jpg") == "TIFF"


def test_the_table_imports_no_image_library() -> None:
    """Completing --format, or finding files, must not take half a second."""
    code = (
        "import sys, colorcli.images.formats\n"
        "assert not {'PIL', 'numpy', 'imagecodecs', 'tifffile'} & set(sys.modules), sorted(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
