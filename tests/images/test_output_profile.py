"""Outputs in other colour spaces than sRGB have the same colours, encoded by a profile at the output's bit depth."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.color import rgb2lab

from colorcli.errors import UsageError
from colorcli.images import icc
from colorcli.images.formats import FORMATS
from colorcli.images.output_profile import NAMES, output_profile
from colorcli.images.read import read_photo
from colorcli.images.write import write_photo
from tests.images.conftest import PROVENANCE, color_scene, strips_of


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize(("form", "bits"), [("JPEG", 8), ("PNG", 16), ("TIFF", 16), ("WEBP", 8), ("JPEG2000", 16)])
def test_colours_are_the_same_in_every_space(tmp_path: Path, name: str, form: str, bits: int) -> None:
    """Codes of one space with another's profile would shift every colour, and nobody would see why."""
    profile = output_profile(name)
    assert profile is not None
    picture, target = color_scene(bits=bits), tmp_path / f"a{FORMATS[form].suffixes[0]}"
    made = write_photo(
        target, strips_of(picture), height=48, width=64, bits=bits, format=form, quality=100, provenance=PROVENANCE,
        profile=profile, original=picture,
    )  # fmt: skip
    photo = read_photo(target)
    assert photo.metadata.icc == profile.icc and photo.bits == bits
    top = np.iinfo(picture.dtype).max
    off = np.linalg.norm(rgb2lab(photo.pixels / top) - rgb2lab(picture / top), axis=-1)
    assert np.percentile(off, 95) < (0.02 if bits == 16 else 3.5)
    assert made.lightness is not None and made.lightness.mean_delta_l < (0.01 if bits == 16 else 0.6)


@pytest.mark.parametrize("name", NAMES[1:])
def test_profiles_are_read_by_other_programs(name: str) -> None:
    profile = output_profile(name)
    assert profile is not None
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile.icc))
    assert ImageCms.getProfileDescription(opened).strip() in {
        "Compatible with Adobe RGB (1998)", "Display P3", "ROMM RGB (ProPhoto)"
    }  # fmt: skip
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc.srgb_profile()))
    there = ImageCms.profileToProfile(red, srgb, opened)
    assert there is not None
    back = ImageCms.profileToProfile(there, opened, srgb)
    assert np.abs(np.asarray(back, int) - np.asarray(red, int)).max() <= 2


def test_a_file_that_is_no_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.icc").write_bytes(b"rubbish")
    gray = bytearray(icc.srgb_profile())
    gray[16:20] = b"GRAY"
    (tmp_path / "gray.icc").write_bytes(gray)
    for name, words in (
        ("a.icc", "not an ICC profile"),
        ("gray.icc", "not an ICC profile"),
        ("no.icc", "no output profile or file"),
    ):
        with pytest.raises(UsageError, match=words):
            output_profile(str(tmp_path / name))
    assert output_profile("sRGB") is None
    (tmp_path / "own.icc").write_bytes(icc.srgb_profile())
    found = output_profile(str(tmp_path / "own.icc"))
    assert found is not None and found.name.startswith("own.icc@") and found.icc == icc.srgb_profile()
