"""A protocol's id identifies its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from skimage.color import rgb2lab

from colorcli.errors import UsageError
from colorcli.evaluate import protocols
from colorcli.evaluate.metrics import choose
from colorcli.evaluate.prepare import fit, to_gray, to_rgb8
from colorcli.evaluate.protocols import GRAY_RULES, Protocol

PHOTO = data.coffee()


@pytest.mark.parametrize("name", protocols.SHELF.names())
def test_every_protocol_can_be_used(name: str) -> None:
    protocol = protocols.load(name)
    assert protocol.id == name == protocols.load(name.split("@", maxsplit=1)[0]).id
    assert protocol.text and choose(protocol.metrics, protocol.sigmas)
    assert fit(PHOTO, protocol).shape[2] == 3


def test_what_was_changed_is_in_the_id() -> None:
    """Otherwise numbers for another gray rule could be taken for the protocol's."""
    protocol = protocols.load("stretch256")
    assert protocol.changed(gray="luma601").id == "stretch256@1"
    changed = protocol.changed(gray="lightness", sigmas=(1.0, 2.0))
    assert changed.id == "stretch256@1+gray=lightness+sigmas=1.0,2.0"
    # The text stands below tables that are copied into papers, so it must name the change too.
    assert changed.text.endswith("; but with gray=lightness, sigmas=1.0,2.0")


def test_labels_are_known_by_their_content(tmp_path: Path) -> None:
    """The same labels give the same id in any folder, and other labels never do."""
    protocol, ids = protocols.load("stretch256"), []
    for folder, number in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.csv").write_text(f"name,class\ncat.png,{number}\n")
        ids.append(protocol.changed(labels=str(tmp_path / folder / "mine.csv")).id)
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("stretch256@1+labels=mine.csv@") and str(tmp_path) not in ids[0]
    with pytest.raises(UsageError, match=r"absent\.csv cannot be read"):
        protocol.changed(labels=str(tmp_path / "absent.csv"))


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('text = "Mine"\nfit = "stretch"\nsize = 64\nmetrics = ["psnr"]\n')
    first = protocols.load(str(path))
    path.write_text('text = "Mine"\nfit = "stretch"\nsize = 65\nmetrics = ["psnr"]\n')
    assert first.id.startswith("mine@") and first.id != protocols.load(str(path)).id


def test_a_protocol_can_fix_what_a_model_is_steered_by(tmp_path: Path) -> None:
    """Files of earlier versions can set sigma; any control that a package declares can be set too."""
    path = tmp_path / "mine.toml"
    path.write_text('text = "Mine"\nsigma = 3\n')
    protocol = protocols.load(str(path))
    assert protocol.controls == {"sigma": 3.0} and protocol.record()["sigma"] == 3.0
    assert Protocol("p@1", "").record()["sigma"] == 0.8
    assert protocol.changed(controls={"sigma": 3.0}) == protocol
    assert protocol.changed(controls={"sigma": 0.8}).id.endswith("+sigma=0.8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("fit =", "Invalid value"),
        ('fit = "bend"', 'fit of a protocol must be one of crop, stretch, native, not "bend"'),
        ("id = 3", "a protocol has no field 'id'"),
        ("sizes = 3", "a protocol has no field 'sizes'; did you mean size"),
        ("size = 0", "size must be ≥ 1"),
        ('size = "large"', 'size of a protocol must be a whole number, not "large"'),
        ('gray = "blue"', "gray of a protocol must be one of lightness"),
        ("sigma = 300", "sigma must be"),
        ("seed = 3", "no field 'seed'"),
        ("[data]\nfirst = true", "first of data must be a whole number, not true"),
    ],
)
def test_what_is_no_protocol_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=f"cannot be used: .*{said}"):
        protocols.load(str(path))
    with pytest.raises(UsageError, match=r"There is no protocol 'x'; there are: .*native@1"):
        protocols.load("x")


def test_geometry_is_what_it_says() -> None:
    """A crop that is one pixel off would change every number."""
    cropped = fit(PHOTO, Protocol("p@1", "", "crop", 256))
    whole = np.asarray(Image.fromarray(PHOTO).resize((384, 256), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(cropped, whole[:, 64:320])
    assert fit(PHOTO[:, :100], Protocol("p@1", "", "crop", 64)).shape == (64, 64, 3)
    stretched = fit(PHOTO, Protocol("p@1", "", "stretch", 128, "bilinear"))
    np.testing.assert_array_equal(stretched, Image.fromarray(PHOTO).resize((128, 128), Image.Resampling.BILINEAR))
    # width first with every Pillow: version 13 begins with the height here
    wide = Image.fromarray(PHOTO[:, :100]).resize((128, PHOTO.shape[0]), Image.Resampling.BILINEAR)
    tall = fit(PHOTO[:, :100], Protocol("p@1", "", "stretch", 128, "bilinear"))
    np.testing.assert_array_equal(tall, wide.resize((128, 128), Image.Resampling.BILINEAR))
    assert fit(PHOTO, Protocol("p@1", "", "native", 0)) is PHOTO


def test_sixteen_bits_are_rounded_not_cut() -> None:
    codes = np.array([[0, 128, 129, 257, 65406, 65535]], np.uint16)
    np.testing.assert_array_equal(to_rgb8(codes)[0, :, 0], np.rint(codes[0] / 257))


def test_gray_rules() -> None:
    """Neutral pixels are unchanged; orthochromatic film, which is not sensitive to red, shows red as black."""
    neutral = to_rgb8(np.arange(256, dtype=np.uint8)[None])
    for rule in GRAY_RULES:
        np.testing.assert_array_equal(to_gray(neutral, rule)[0], np.arange(256))
    lightness = rgb2lab(to_rgb8(to_gray(PHOTO, "lightness")))[..., 0]
    assert np.abs(lightness - rgb2lab(PHOTO)[..., 0]).max() < 0.8
    np.testing.assert_array_equal(to_gray(PHOTO, "luma601"), np.rint(PHOTO @ [0.299, 0.587, 0.114]))
    red, blue = np.array([[[255, 0, 0]]], np.uint8), np.array([[[0, 0, 255]]], np.uint8)
    assert to_gray(red, "orthochromatic") == 0
    assert to_gray(red, "panchromatic") > 100
    assert to_gray(blue, "panchromatic") > to_gray(blue, "lightness")
