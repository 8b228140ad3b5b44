"""The photographs that training uses, and how they are prepared."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image, ImageCms

from colorcli.color.spaces import LUMA601
from colorcli.errors import NothingToDoError, UsageError
from colorcli.images.read import read_photo
from colorcli.train import recipe as recipes
from colorcli.train.data import Augment, Loader, PhotoSet, _old_print, centre


def test_folders_and_shards_are_read_alike(photos: Path) -> None:
    assert len(PhotoSet([photos], held_back=0).train) == 30


def test_the_split_is_stable_when_photographs_are_added(photos: Path, tmp_path: Path) -> None:
    """If a photograph moved from validation to training, later measurements would be on training data."""
    before = {entry.name for entry in PhotoSet([photos], held_back=0.3).validation}
    Image.new("RGB", (64, 64), (200, 30, 30)).save(photos / "a-new-one.png")
    after = {entry.name for entry in PhotoSet([photos], held_back=0.3).validation}
    assert before
    assert before <= after <= before | {"a-new-one.png"}


def test_gray_and_broken_photographs_are_counted_and_replaced(photos: Path) -> None:
    for path in sorted(photos.glob("0*.png"))[:5]:
        Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    (photos / "10.png").write_bytes(b"not a picture")
    data = PhotoSet([photos], held_back=0)
    loader = Loader(data, Augment(64, (64, 64)), batch=30, seed=0)
    (batch,) = loader.stream(0, 1)
    assert batch.rgb.shape == (30, 3, 64, 64)
    assert sum(reason == "near-gray" for reason in data.left_out.values()) == 5
    assert "unreadable" in data.left_out["10.png"]


def test_prints_are_no_truth_for_who_fine_tunes(tmp_path: Path) -> None:
    """A network that is adapted to an archive would learn its sepia, and the brown of its album pages."""
    gray = np.asarray(Image.fromarray(skimage.data.astronaut()).convert("L"))
    tones = gray / 255.0
    page = np.full((572, 572, 3), (188, 160, 120), np.uint8)
    page[30:-30, 30:-30] = gray[..., None]
    sepia = np.rint(255 * np.stack([tones**0.85, tones, tones**1.3], 2)).astype(np.uint8)
    for name, picture in (("sepia", sepia), ("page", page), ("colour", skimage.data.astronaut())):
        Image.fromarray(picture).save(tmp_path / f"{name}.jpg", quality=92)
    options = recipes.load("fine-tune", ["system=convnet", "preset=lite"]).data
    for toned, expected in ((options.toned, {"page.jpg", "sepia.jpg"}), (True, set())):
        data = PhotoSet([tmp_path], held_back=0, toned=toned)
        for entry in data.train:
            data.read(entry, 128)
        assert set(data.left_out) == expected


def test_samples_depend_on_their_index_alone(photos: Path) -> None:
    """Otherwise a resumed run would train on other samples than an uninterrupted one."""
    data = PhotoSet([photos], held_back=0)
    augment = Augment(32, (40, 64), degrade=1.0)
    unbroken = list(Loader(data, augment, batch=4, seed=7).stream(0, 12))
    resumed = list(Loader(data, augment, batch=4, seed=7, ahead=1).stream(9, 3))
    for one, other in zip(unbroken[9:], resumed, strict=True):
        assert np.array_equal(one.gray, other.gray)
        assert np.array_equal(one.rgb, other.rgb)
    assert not np.array_equal(unbroken[0].rgb, unbroken[8].rgb)


def test_the_processes_of_a_run_share_each_batch_without_overlap(photos: Path) -> None:
    """If a photograph were used twice or left out, two processes would not learn the same as one."""
    data = PhotoSet([photos], held_back=0)
    whole = next(Loader(data, Augment(32, (40, 64)), batch=6, seed=7).stream(0, 1))
    halves = [next(Loader(data, Augment(32, (40, 64)), batch=6, seed=7, share=(i, 2)).stream(0, 1)) for i in (0, 1)]
    assert halves[0].names + halves[1].names == whole.names
    assert np.array_equal(np.concatenate([half.rgb for half in halves]), whole.rgb)


def test_fixed_samples_are_the_same_in_every_epoch(photos: Path) -> None:
    """Cached features belong to one crop of a photograph; with another crop, the colours would not match them."""
    data = PhotoSet([photos], held_back=0)
    loader = Loader(data, Augment(32, (40, 64)), batch=30, seed=7, fixed=True)
    first, second = (dict(zip(batch.names, batch.rgb, strict=True)) for batch in loader.stream(0, 2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_class_folders_give_labels(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "classes"
    for name, source in (("tabby", "00.png"), ("Granny Smith", "01.png")):
        (root / name).mkdir(parents=True)
        (root / name / "photo.png").write_bytes((photos / source).read_bytes())
    data = PhotoSet([root], held_back=0, labels="folders")
    assert {entry.name: entry.label for entry in data.train} == {"tabby/photo.png": 281, "Granny Smith/photo.png": 948}
    (root / "no such thing").mkdir()
    (root / "no such thing" / "photo.png").write_bytes((photos / "02.png").read_bytes())
    with pytest.raises(UsageError, match="no such thing"):
        PhotoSet([root], held_back=0, labels="folders")
    with pytest.raises(UsageError, match=r"00\.png is not in a folder named after its class"):
        PhotoSet([photos], held_back=0, labels="folders")


def _shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_a_shards_own_classes_are_taken(photos: Path, tmp_path: Path) -> None:
    """In WebDataset's layout, classes are in files beside the photographs, not in folder names."""
    photo = (photos / "00.png").read_bytes()
    shard = tmp_path / "imagenet-000.tar"
    _shard(shard, {"a/0.cls": b"281", "a/0.png": photo, "1.png": photo, "1.cls": b"948\n"})
    data = PhotoSet([shard], held_back=0, labels="folders")
    assert {entry.name: entry.label for entry in data.train} == {"imagenet-000/a/0.png": 281, "imagenet-000/1.png": 948}
    _shard(shard, {"0.png": photo, "0.cls": b"1000"})
    with pytest.raises(UsageError, match="Class 1000"):
        PhotoSet([shard], held_back=0, labels="folders")


def test_a_photograph_that_is_repaired_is_left_out_no_longer(photos: Path) -> None:
    whole = (photos / "00.png").read_bytes()
    (photos / "00.png").write_bytes(whole[:40])
    data = PhotoSet([photos], held_back=0)
    assert data.read(data.train[0], 64) is None
    assert "00.png" in data.left_out
    (photos / "00.png").write_bytes(whole)
    assert data.read(data.train[0], 64) is not None
    assert not data.left_out


def test_rotation_keeps_the_size_and_invents_no_black_corners(photos: Path) -> None:
    white = Image.new("RGB", (80, 64), (250, 240, 230))
    example = Augment(48, (48, 64), degrade=0, rotation=0.1, exposure=0).example(white, np.random.default_rng(0))
    assert example.rgb.shape == (3, 48, 48)
    assert example.rgb.min() > 0.85


def test_papers_that_stretch_or_take_the_middle_are_followed() -> None:
    """The picture is red on the left and blue on the right, which both a stretch and the middle crop preserve."""
    picture = np.zeros((64, 192, 3), np.uint8)
    picture[:, :96, 0] = picture[:, 96:, 2] = 255
    for fit in ("stretch", "centre"):
        augment = Augment(32, (32, 32), degrade=0, films=False, exposure=0, fit=fit, flip=False)
        for seed in range(8):
            rgb = augment.example(Image.fromarray(picture), np.random.default_rng(seed)).rgb
            assert rgb[0, :, :14].min() > 0.9
            assert rgb[2, :, 18:].min() > 0.9


def test_every_photograph_comes_once_an_epoch(photos: Path) -> None:
    data = PhotoSet([photos], held_back=0)
    seen = []
    read = data.read

    def spy(entry: Any, short_side: int) -> Any:
        seen.append(entry.name)
        return read(entry, short_side)

    data.read = spy  # type: ignore[method-assign]
    list(Loader(data, Augment(32, (40, 64)), batch=5, seed=0).stream(0, 6))
    assert len(set(seen)) == 30


def test_gray_input_is_the_photographs_own_where_nothing_degrades_it(photos: Path) -> None:
    example = centre(Image.open(photos / "00.png").convert("RGB"), 64)
    assert np.allclose(example.gray[0], np.tensordot(LUMA601, example.rgb, 1), atol=1e-5)


def test_a_camera_held_upright_gives_upright_photographs(tmp_path: Path) -> None:
    """A network must learn that skies are above and grass is below, so EXIF orientation must be applied."""
    lying = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "a.jpg", exif=exif)
    data = PhotoSet([tmp_path], held_back=0)
    image = data.read(data.train[0], 40)
    assert image is not None
    assert image.size == (40, 60)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_profiles_and_depth_are_read_as_colorize_reads_them(tmp_path: Path, name: str) -> None:
    """Otherwise an Adobe RGB copy would be learnt as duller than the same photograph in sRGB."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(40, 215, (6, 6, 3), dtype=np.uint8)).resize(
        (96, 96), Image.Resampling.BICUBIC
    )
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Exchange the red and green primaries: profiles of wide gamuts differ in the same tags.
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    smooth.save(tmp_path / name, icc_profile=bytes(profile), quality=95, subsampling=0)
    data = PhotoSet([tmp_path], held_back=0)
    image = data.read(data.train[0], 96)
    assert image is not None
    expected = read_photo(tmp_path / name).pixels
    assert np.abs(np.asarray(image).astype(int) - expected).max() <= 2
    assert np.abs(expected.astype(int) - np.asarray(smooth)).max() > 40, "the profile must have an effect"


def test_a_large_photograph_is_decoded_small_and_stays_what_it_is(tmp_path: Path) -> None:
    """Decoding 12 megapixels in full takes as long as a training step; decoding at low resolution must keep colours."""
    photograph = Image.fromarray(skimage.data.coffee()).resize((1800, 1200))
    photograph.save(tmp_path / "a.jpg", quality=95)
    data = PhotoSet([tmp_path], held_back=0)
    small = data.read(data.train[0], 64)
    assert small is not None
    assert small.size == (225, 150)
    ours, theirs = centre(small, 64).rgb, centre(photograph, 64).rgb
    assert np.abs(ours - theirs).mean() < 0.01
    whole = data.read(data.train[0], 400)
    assert whole is not None
    assert whole.size == (1800, 1200)


def test_a_broken_shard_is_a_sentence(photos: Path) -> None:
    (photos / "shard-001.tar").write_bytes(b"rot" * 1000)
    with pytest.raises(UsageError, match=r"shard-001\.tar cannot be read"):
        PhotoSet([photos])


def test_no_photographs_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="No photographs"):
        PhotoSet([tmp_path])
    with pytest.raises(UsageError, match="neither"):
        PhotoSet([tmp_path / "missing"])


def test_old_prints_stay_photographs_and_differ() -> None:
    """If they were unrecognisable or all alike, training on them would not help with old photographs."""
    gray = np.asarray(Image.fromarray(skimage.data.camera()).resize((128, 128)), np.float32) / np.float32(255)
    prints = [_old_print(gray.astype(np.float32), np.random.default_rng(seed)) for seed in range(60)]
    for one in prints:
        assert one.dtype == np.float32
        assert one.min() >= 0
        assert one.max() <= 1
    likeness = [float(np.corrcoef(gray.ravel(), one.ravel())[0, 1]) for one in prints]
    assert min(likeness) > 0.6
    assert np.median(likeness) > 0.9
    assert len({one.tobytes() for one in prints}) == 60
