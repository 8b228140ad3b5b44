"""A run from end to end with a fake network: what is written and reported, and what happens when something breaks."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from colorcli.color import compiled, join
from colorcli.color.compiled import types
from colorcli.colorize.executors import local
from colorcli.colorize.journal import read_journal
from colorcli.colorize.memory import Canvases, PixelBudget
from colorcli.colorize.options import Execution
from colorcli.errors import ExitCode, OutputError, UsageError
from colorcli.images.read import read_photo
from colorcli.networks.size import SizeRule
from colorcli.sessions.session import OutOfMemoryError
from colorcli.stopping import Stop

from ..fakes import FakeSession
from .conftest import Colour, contents, with_info, write_gray


def _doubled(value: float) -> float:
    return 2 * value


def test_a_folder_is_coloured_and_its_tree_mirrored(old: Path, colour: Colour) -> None:
    """This is the program's main purpose."""
    before = contents(old)
    report = colour(old)
    outputs = contents(old.with_name("old_colorized"))
    assert list(outputs) == list(before)
    assert (report.done, report.failed, report.exit_code) == (6, 0, ExitCode.OK)
    assert contents(old) == before
    for name in outputs:
        with Image.open(old.with_name("old_colorized") / name) as image:
            assert image.mode == "RGB"
            assert np.asarray(image, float).std(axis=2).mean() > 5


def test_the_journal_says_what_was_made_from_what(old: Path, colour: Colour) -> None:
    """An archive can prove years later which file came from which, by which weights."""
    colour(old, sigma=2.0)
    root = old.with_name("old_colorized")
    records = list(read_journal(root))
    done = {str(r["output"]): r for r in records if r["event"] == "photo.done"}
    assert set(done) == set(contents(root))
    for name, record in done.items():
        assert record["input_sha256"] == hashlib.sha256((old / name).read_bytes()).hexdigest()
        assert record["output_sha256"] == hashlib.sha256((root / name).read_bytes()).hexdigest()
        assert record["output_size"] == (root / name).stat().st_size
        assert (record["model"], record["weights_sha256"]) == ("fake@test", "ab" * 32)
        assert isinstance(record["parameters"], dict)
        assert record["parameters"]["sigma"] == 2.0
        assert 0 <= float(str(record["max_delta_l"])) <= 0.5
        assert float(str(record["mean_chroma"])) > 5
        assert isinstance(record["seconds"], dict)
        assert set(record["seconds"]) == {"hash", "decode", "resize", "network", "join", "encode"}
    assert records[0]["event"] == "run.start"
    assert {"colorcli", "libraries", "host", "parameters", "execution", "device"} <= set(records[0])
    assert records[-1]["event"] == "run.end"


def test_a_second_run_does_nothing(old: Path, colour: Colour) -> None:
    """Eighty thousand photographs are not coloured twice, and no network is loaded to find out."""
    colour(old)
    before = contents(old.with_name("old_colorized"))
    report = colour(old)
    assert colour.session.batches == []
    assert (report.already, report.done, report.exit_code) == (6, 0, ExitCode.OK)
    assert contents(old.with_name("old_colorized")) == before


@pytest.mark.parametrize("cached", [False, True])
def test_compiling_is_announced_only_if_it_happens(
    old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached: bool
) -> None:
    """The announcement says "once"; without it, nothing seems to happen for half a minute on a new machine."""
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    loop = compiled.compiled

    def once_more() -> None:
        loop(_doubled, types.float64(types.float64))

    if cached:
        once_more()
    monkeypatch.setattr(join, "warm_up", once_more)
    colour(old)
    told = [event["message"] for event in colour.events if event["event"] == "notice"]
    assert [event["event"] for event in colour.events[: 2 - cached]] == ["notice", "run.start"][cached:]
    assert len(told) == (not cached) and all("once" in text for text in told)


def test_setup_before_the_first_photograph_does_not_count_as_speed(
    old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise eight photographs on a new machine would seem to take three minutes instead of ten seconds."""
    clock, setup = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + setup[0])
    monkeypatch.setattr(join, "warm_up", lambda: setup.insert(0, 180.0))
    report = colour(old)
    end = colour.events[-1]
    assert 180 < report.setup_seconds < report.seconds < 360
    assert report.outputs_per_second == pytest.approx(6 / (report.seconds - report.setup_seconds))
    assert end["setup_seconds"] == pytest.approx(report.setup_seconds, abs=1e-3)


def test_a_session_that_takes_several_at_a_time_gets_them(old: Path, colour: Colour, tmp_path: Path) -> None:
    """With only one thread running the network, all other CPUs would wait for it."""
    colour(old, output=tmp_path / "one")
    together = threading.Barrier(2, timeout=30)
    session = FakeSession(lambda *_: together.wait() * 0 or None)
    session.streams = 2
    report = colour(old, output=tmp_path / "two", session=session)
    assert report.done == report.matched and report.matched % 2 == 0 and not together.broken
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_results_depend_on_neither_batches_nor_threads_nor_order(old: Path, colour: Colour, tmp_path: Path) -> None:
    """A resumed or sharded run gives the same outputs as a single run."""
    colour(old, output=tmp_path / "one", execution=Execution(batch_size=1, jobs=1))
    colour(old, output=tmp_path / "many", execution=Execution(batch_size=4, jobs=4))
    colour(old, output=tmp_path / "part", include=["f.png"])
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert contents(tmp_path / "part")["sub/f.png"] == contents(tmp_path / "one")["sub/f.png"]


def test_photographs_of_one_shape_share_a_pass(old: Path, colour: Colour) -> None:
    """A GPU that gets one photograph at a time is mostly idle."""
    gate = threading.Event()

    def wait(lightness: Any, chroma: Any) -> None:
        gate.wait(5)

    session = FakeSession(wait)
    threading.Timer(1.5, gate.set).start()
    # Enough colourings for a full batch, however few are ready for the first one.
    colour(old, session=session, samples=3, execution=Execution(batch_size=4, jobs=4))
    assert max(shape[0] for shape in session.batches) == 4


def test_samples_differ_and_never_collide(old: Path, colour: Colour) -> None:
    report = colour(old, samples=3)
    outputs = contents(old.with_name("old_colorized"))
    assert report.done == len(outputs) == 18
    assert {"a.s00.png", "a.s01.png", "a.s02.png", "sub/e.s02.png"} <= set(outputs)
    assert len({outputs[f"a.s0{i}.png"] for i in range(3)}) == 3


def test_16_bits_stay_16_bits_and_transparency_stays(tmp_path: Path, colour: Colour) -> None:
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "deep.tif", ramp)
    rgba = np.dstack([np.full((48, 64, 3), 120, np.uint8), np.arange(64, dtype=np.uint8)[None].repeat(48, 0)])
    Image.fromarray(rgba).save(tmp_path / "in" / "clear.png")
    colour(tmp_path / "in")
    deep = tifffile.imread(tmp_path / "in_colorized" / "deep.tif")
    assert deep.dtype == np.uint16
    assert deep.shape == (48, 64, 3)
    assert len(np.unique(deep)) > 2000
    assert (np.asarray(Image.open(tmp_path / "in_colorized" / "clear.png"))[..., 3] == rgba[..., 3]).all()
    assert max(float(str(r["max_delta_l"])) for r in colour.of("photo.done") if r["bits"] == 16) <= 0.01


def test_a_lossless_webp_stays_lossless(tmp_path: Path, colour: Colour) -> None:
    """If the original was lossless, its copy must not lose anything either."""
    kept = write_gray(tmp_path / "in" / "a.webp", lossless=True)
    write_gray(tmp_path / "in" / "b.webp", lossless=False)
    same = write_gray(tmp_path / "png" / "a.webp")
    with Image.open(kept) as image:
        image.save(same, "PNG")
    assert colour(tmp_path / "in").done == 2
    assert colour(tmp_path / "png").done == 1
    root = tmp_path / "in_colorized"
    assert b"VP8L" in (root / "a.webp").read_bytes()
    assert b"VP8 " in (root / "b.webp").read_bytes()
    with Image.open(root / "a.webp") as webp, Image.open(tmp_path / "png_colorized" / "a.webp") as png:
        assert np.array_equal(np.asarray(webp), np.asarray(png))


def test_a_misleading_name_is_kept_and_noted(tmp_path: Path, colour: Colour) -> None:
    """The copy has the original's format and name, so that a user who notices can rename both."""
    write_gray(tmp_path / "in" / "a.png").rename(tmp_path / "in" / "a.jpg")
    assert colour(tmp_path / "in").done == 1
    assert colour.of("photo.done")[0]["notes"] == ["is a PNG despite its name"]


def test_another_format(tmp_path: Path, colour: Colour) -> None:
    write_gray(tmp_path / "in" / "1912.06.03-a.tif")
    write_gray(tmp_path / "in" / "1912.06.03-b.tif")
    colour(tmp_path / "in", format="JPEG")
    assert set(contents(tmp_path / "in_colorized")) == {"1912.06.03-a.jpg", "1912.06.03-b.jpg"}
    assert Image.open(tmp_path / "in_colorized" / "1912.06.03-a.jpg").format == "JPEG"


def test_photographs_in_colour_are_skipped_without_recolor(tmp_path: Path, colour: Colour) -> None:
    """Somebody's only colour slides must not come back in invented colours."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    (tmp_path / "in").mkdir()
    Image.fromarray(blocks).save(tmp_path / "in" / "slide.png")
    write_gray(tmp_path / "in" / "gray.png")
    report = colour(tmp_path / "in")
    assert (report.done, report.skipped, report.exit_code) == (1, 1, ExitCode.OK)
    assert "--recolor" in colour.reasons()["slide.png"]
    again = colour(tmp_path / "in")
    assert (again.already, again.skipped) == (1, 1)
    assert colour.session.batches == [], "what is known to be in colour is not decoded again"
    assert colour(tmp_path / "in", execution=Execution(recolor=True)).done == 1


def test_toned_photographs_are_coloured_and_the_journal_says_so(tmp_path: Path, colour: Colour) -> None:
    gray = np.linspace(0, 1, 128 * 96).reshape(96, 128)
    sepia = np.stack([gray**0.8, gray, gray**1.3], axis=-1)
    (tmp_path / "in").mkdir()
    Image.fromarray((sepia * 255).astype(np.uint8)).save(tmp_path / "in" / "sepia.png")
    report = colour(tmp_path / "in")
    assert report.done == 1
    (record,) = colour.of("photo.done")
    assert record["kind"] == "toned"
    assert "toned" in str(record["notes"])


def nan(lightness: Any, chroma: Any) -> Any:
    chroma[0, 0, 0, 0] = np.nan
    return chroma


def raises(lightness: Any, chroma: Any) -> Any:
    raise ValueError("the network broke")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (nan, "not numbers"),
        (lambda lightness, chroma: chroma * np.inf, "not numbers"),
        (lambda lightness, chroma: chroma * 0, "no colour"),
        (lambda lightness, chroma: chroma[:, :1], "wrong shape"),
        (lambda lightness, chroma: chroma[:0], "wrong shape"),
        (lambda lightness, chroma: chroma[..., :0], "wrong shape"),
        (lambda lightness, chroma: chroma[0], "wrong shape"),
        (raises, "the network broke"),
    ],
)
def test_a_broken_output_is_a_failure_never_a_gray_image(old: Path, colour: Colour, fault: Any, reason: str) -> None:
    """The most common lie of such tools is to return the gray input as a result."""
    report = colour(old, session=FakeSession(fault))
    assert (report.failed, report.done, report.exit_code) == (6, 0, ExitCode.ALL_FAILED)
    assert all(reason in text for text in colour.reasons().values())
    assert contents(old.with_name("old_colorized")) == {}


def test_blank_pages_and_line_drawings_are_kept_and_the_journal_says_so(tmp_path: Path, colour: Colour) -> None:
    """Archives have backs of prints and 1-bit scans: they must neither fail every night nor be called coloured."""
    write_gray(tmp_path / "in" / "black.png", value=0)
    write_gray(tmp_path / "in" / "white.png", value=255)
    drawing = np.random.default_rng(0).integers(0, 2, (32, 48)).astype(bool)
    Image.fromarray(drawing).save(tmp_path / "in" / "drawing.tif", compression="group4")
    assert colour(tmp_path / "in").done == 3
    assert all("stays black and white" in record["notes"][0] for record in colour.of("photo.done"))
    with Image.open(tmp_path / "in_colorized" / "drawing.tif") as image:
        assert np.array_equal(np.asarray(image), np.repeat(drawing[..., None], 3, axis=2) * 255)


def test_a_network_that_colours_only_a_spot_has_failed(old: Path, colour: Colour) -> None:
    def spot(_: Any, chroma: Any) -> Any:
        chroma[:, :, 1:] = chroma[:, :, :, 1:] = 0
        chroma[:, :, :1, :1] = 1
        return chroma

    report = colour(old, session=FakeSession(spot))
    assert report.exit_code == ExitCode.ALL_FAILED
    assert "without any colour" in colour.reasons()["a.png"]


def test_a_file_in_the_way_of_a_folder_fails_only_what_goes_there(old: Path, colour: Colour) -> None:
    """A stray file must not cost a night's run."""
    (old.parent / "out").mkdir()
    (old.parent / "out" / "sub").write_text("a stray file")
    report = colour(old, output=old.parent / "out")
    assert (report.done, report.failed) == (4, 2)
    assert "is, or is below, a file" in colour.reasons()["sub/e.png"]


def test_strength_zero_may_be_gray(old: Path, colour: Colour) -> None:
    assert colour(old, strength=0.0).done == 6


def test_one_bad_photograph_in_a_batch_fails_alone(old: Path, colour: Colour) -> None:
    """One NaN among eighty thousand photographs must not fail its neighbours."""

    def fault(lightness: Any, chroma: Any) -> Any:
        if lightness.shape[0] > 1 or abs(float(lightness.mean()) - marked) < 1e-3:
            raise ValueError("not this one")

    marks: list[float] = []
    colour(old, output=old.with_name("x"), session=FakeSession(lambda light, _: marks.append(float(light.mean()))))
    marked = marks[2]
    report = colour(old, session=FakeSession(fault), execution=Execution(batch_size=4, jobs=2))
    assert (report.done, report.failed, report.exit_code) == (5, 1, ExitCode.SOME_FAILED)


def test_out_of_memory_lowers_the_batch_and_never_the_working_size(old: Path, colour: Colour, tmp_path: Path) -> None:
    gate = threading.Event()
    too_large = []

    def fault(lightness: Any, chroma: Any) -> None:
        gate.wait(5)
        if lightness.shape[0] > 1:
            too_large.append(lightness.shape[0])
            raise OutOfMemoryError("8 GB are not enough")

    colour(old, output=tmp_path / "roomy")
    sizes = {shape[2:] for shape in colour.session.batches}
    threading.Timer(0.5, gate.set).start()
    report = colour(
        old, output=tmp_path / "tight", session=FakeSession(fault), execution=Execution(batch_size=4, jobs=4)
    )
    assert (report.done, report.failed) == (6, 0)
    assert contents(tmp_path / "tight") == contents(tmp_path / "roomy")
    assert {shape[2:] for shape in colour.session.batches} == sizes
    # How many photographs were ready for the first batch depends on timing; what follows from it does not.
    assert too_large
    halves = [size // 2 for size in too_large]
    lowered = [half for index, half in enumerate(halves) if half < min(halves[:index], default=5)]
    assert [n["batch_size"] for n in colour.of("notice")] == lowered
    assert colour.of("notice")[-1]["batch_size"] == 1


def test_out_of_memory_with_a_single_photograph_fails_it_and_says_so(old: Path, colour: Colour) -> None:
    def fault(lightness: Any, chroma: Any) -> None:
        raise OutOfMemoryError("no")

    report = colour(old, session=FakeSession(fault))
    assert report.exit_code == ExitCode.ALL_FAILED
    assert all("out of memory" in reason and "96 x 64" in reason for reason in colour.reasons().values())


def test_a_damaged_photograph_fails_alone_and_is_tried_again(old: Path, colour: Colour) -> None:
    whole = (old / "a.png").read_bytes()
    (old / "a.png").write_bytes(whole[:200])
    report = colour(old)
    assert (report.done, report.failed, report.exit_code) == (5, 1, ExitCode.SOME_FAILED)
    assert not colour.reasons()["a.png"].startswith(str(old)), "the name is said once"
    (old / "a.png").write_bytes(whole)
    report = colour(old)
    assert (report.done, report.already, report.exit_code) == (1, 5, ExitCode.OK)


def test_a_photograph_that_vanishes_fails_alone(old: Path, colour: Colour) -> None:
    def vanish(record: Any) -> None:
        if record["event"] == "run.start":
            (old / "d.tif").unlink()

    report = colour(old, observe=vanish)
    assert (report.done, report.failed) == (5, 1)
    assert "No such file" in colour.reasons()["d.tif"]


def test_a_photograph_that_grows_while_it_is_read_fails(
    old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan that is still being copied must not be journalled with the checksum of half of it."""
    from colorcli.colorize import photograph

    read = read_photo

    def growing(path: Path, **kwargs: Any) -> Any:
        photo = read(path, **kwargs)
        if path.name == "a.png":
            with path.open("ab") as file:
                file.write(b"more")
        return photo

    monkeypatch.setattr(photograph, "read_photo", growing)
    assert colour(old).failed == 1
    assert "changed while" in colour.reasons()["a.png"]


def test_fail_fast_stops(tmp_path: Path, colour: Colour) -> None:
    for index in range(300):
        write_gray(tmp_path / "in" / f"{index:03}.png", 8, 8)
    report = colour(
        tmp_path / "in", session=FakeSession(raises), execution=Execution(fail_fast=True, jobs=1, max_pixels=1 << 21)
    )
    assert 1 <= report.failed < 100
    assert report.exit_code == ExitCode.SOME_FAILED
    assert report.unprocessed == 300 - report.failed


def test_a_stop_finishes_what_is_in_flight_and_a_later_run_the_rest(tmp_path: Path, colour: Colour) -> None:
    """The first Ctrl-C loses no work and leaves nothing half-done."""
    for index in range(100):
        write_gray(tmp_path / "in" / f"{index:03}.png", 8, 8)
    stop = Stop()

    def observe(record: Any) -> None:
        if record["event"] == "photo.done":
            stop.request(2)

    report = colour(tmp_path / "in", stop=stop, observe=observe, execution=Execution(jobs=1, max_pixels=1 << 22))
    assert report.exit_code == ExitCode.INTERRUPTED
    assert 0 < report.done < 100
    assert report.done == len(contents(tmp_path / "in_colorized"))
    assert colour(tmp_path / "in").done == 100 - report.done


def test_a_stop_does_not_wait_for_what_the_network_has_not_begun(tmp_path: Path, colour: Colour) -> None:
    """Sixty small photographs may be queued: on a slow machine, the prompt would come minutes after Ctrl-C."""
    for index in range(60):
        write_gray(tmp_path / "in" / f"{index:03}.png", 8, 8)
    stop = Stop()
    begun = itertools.count(1)
    passes: list[int] = []

    def until_stopped(*_: Any) -> None:
        passes.append(next(begun))
        if passes[-1] > 1:
            assert stop.wait(60)

    def observe(record: Any) -> None:
        if record["event"] == "photo.done":
            stop.request(2)

    report = colour(tmp_path / "in", session=FakeSession(until_stopped), stop=stop, observe=observe)
    assert len(passes) <= 2, "the pass that was running when the stop came is the last"
    assert report.done + report.unprocessed == 60
    assert colour(tmp_path / "in").done == report.unprocessed


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int, suffix: str, error: int) -> None:
    """From the ``after``-th call on, fsync of files whose names end in ``suffix`` fails with ``error``."""
    fsync, count = os.fsync, itertools.count()

    def failing(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if name.endswith(suffix) and next(count) >= after:
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)


@pytest.mark.parametrize("error", [28, 5], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("suffix", [".part", ".jsonl"])
@pytest.mark.parametrize("after", [0, 3, 4])
def test_a_full_disk_ends_the_run_and_a_re_run_completes_it(
    old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch, suffix: str, error: int, after: int
) -> None:
    """Nothing half-written is left, the exit code gives the cause, and freeing space is all that is needed."""
    with monkeypatch.context() as patch:
        full_disk(patch, after, suffix, error)
        try:
            report = colour(old, execution=Execution(jobs=1))
            assert report.exit_code == ExitCode.OUTPUT
        except OutputError as fault:
            assert fault.exit_code == ExitCode.OUTPUT
    root = old.with_name("old_colorized")
    assert not list(root.rglob("*.part"))
    for name in contents(root):
        with Image.open(root / name) as image:
            image.load()
    finished = {str(r["output"]) for r in read_journal(root) if r["event"] == "photo.done"}
    report = colour(old)
    assert report.exit_code == ExitCode.OK
    assert report.done + report.already == 6
    assert report.already == len(finished)


def test_an_output_folder_that_cannot_be_written(old: Path, colour: Colour) -> None:
    """It is reported before the network is loaded."""
    old.with_name("old_colorized").write_text("a file of that name")
    with pytest.raises(OutputError, match="cannot be written"):
        colour(old)


def test_two_runs_on_one_folder_are_kept_apart(old: Path, colour: Colour) -> None:
    other: list[str] = []

    def observe(record: Any) -> None:
        if record["event"] == "run.start":
            with pytest.raises(OutputError) as caught:
                Colour()(old)
            other.append(str(caught.value))

    assert colour(old, observe=observe).done == 6
    assert str(os.getpid()) in other[0]


def test_what_the_model_lacks_is_refused(old: Path, colour: Colour) -> None:
    """Silently ignoring an option would be silently breaking a promise."""
    plain = with_info(controls=())
    for options in ({"sigma": 1.0}, {"seed": 1}, {"samples": 2}, {"class_name": "3"}):
        with pytest.raises(UsageError, match="fake@test"):
            colour(old, session=plain, **options)
    with pytest.raises(UsageError, match="64 pixels only"):
        colour(old, session=with_info(size_rule=SizeRule(64, fixed=True)), size=128)
    assert colour(old, session=plain).done == 6


def test_a_long_panorama_is_coloured_in_windows(tmp_path: Path, colour: Colour) -> None:
    write_gray(tmp_path / "in" / "long.png", 640, 40)
    report = colour(tmp_path / "in", session=with_info(size_rule=SizeRule(64, 16, max_aspect=4.0)))
    assert report.done == 1
    assert len(colour.session.batches) > 4
    assert {shape[2:] for shape in colour.session.batches} == {(64, 128)}
    assert "windows" in str(colour.of("photo.done")[0]["notes"])


def test_memory_is_bounded_by_pixels_in_flight(tmp_path: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand photographs need no more memory than ten."""
    for index in range(60):
        write_gray(tmp_path / "in" / f"{index}.png", 8, 8)
    used: list[int] = []

    class Counted(PixelBudget):
        def acquire(self, pixels: int, stopped: Callable[[], bool] = lambda: False) -> bool:
            admitted = super().acquire(pixels, stopped)
            used.append(self._used)
            return admitted

    monkeypatch.setattr(local, "PixelBudget", Counted)
    report = colour(tmp_path / "in", execution=Execution(jobs=2, max_pixels=4 << 20))
    assert report.done == 60
    assert len(used) == 120, "each photograph passes both gates"
    assert max(used) <= 4 << 20


def test_a_photograph_larger_than_the_limit_is_admitted_alone() -> None:
    budget = PixelBudget(10 << 20)
    assert budget.acquire(100 << 20)
    assert not budget.acquire(1, lambda: True)
    budget.release(100 << 20)
    assert budget.idle
    assert budget.acquire(1)


def test_canvases_are_reused_but_never_by_two_at_a_time() -> None:
    """Shared canvases would mix photographs; keeping all of them would make memory grow with every size in a folder."""
    canvases = Canvases(keep=400)
    with canvases.taken((10, 8, 3), 8) as first, canvases.taken((5, 4, 3), 16) as second:
        assert (first.shape, second.shape) == ((10, 8, 3), (5, 4, 3))
        assert first.dtype == np.uint8 and second.dtype == np.uint16
        assert not np.shares_memory(first, second) and second.flags.c_contiguous
    with canvases.taken((1, 1, 3), 8) as third:
        assert np.shares_memory(third, second), "large enough"
    with canvases.taken((100, 1, 3), 8) as large:
        assert not np.shares_memory(large, first) and not np.shares_memory(large, second)
    with canvases.taken((20, 5, 3), 8) as again, canvases.taken((1, 1, 3), 8) as other:
        assert np.shares_memory(again, large)
        assert not np.shares_memory(other, first), "what was too small is no longer kept"
    with canvases.taken((134, 1, 3), 8) as larger:
        pass
    with canvases.taken((1, 1, 3), 8) as next_one:
        assert not np.shares_memory(next_one, larger), "more than may be kept"


def test_a_reused_canvas_shows_nothing_of_the_last_photograph(tmp_path: Path, colour: Colour) -> None:
    """Where formats, sizes and depths change from file to file, a ghost of one photograph could appear in the next."""
    for index, name in enumerate(("a.png", "b.jpg", "c.png", "d.tif", "e.webp", "f.png")):
        write_gray(tmp_path / "in" / name, 90 - 13 * index, 40 + 7 * index)
    assert colour(tmp_path / "in", execution=Execution(jobs=1, fsync=False)).done == 6
    together = contents(tmp_path / "in_colorized")
    for name in together:
        colour(tmp_path / "in", output=tmp_path / "alone", include=[name], execution=Execution(jobs=1, fsync=False))
    assert contents(tmp_path / "alone") == together


def test_the_counts_add_up(old: Path, colour: Colour) -> None:
    """Every photograph is either done, already done, skipped or failed."""
    colour(old, include=["a.png", "b.png"])
    (old / "c.jpg").write_bytes(b"no JPEG")
    write_gray(old.with_name("old_colorized") / "d.tif")
    os.mkfifo(old / "pipe.png")
    report = colour(old)
    assert (report.matched, report.already, report.done, report.skipped, report.failed) == (7, 2, 2, 2, 1)
    assert report.unprocessed == 0
    assert report.exit_code == ExitCode.SOME_FAILED
    assert report.conflicts == colour.events[-1]["conflicts"] == 1


def test_a_crash_of_the_engine_itself_is_raised(old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug must end the run with an error instead of letting it hang for the night."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(local._Line, "_color", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        colour(old)


def test_hints_are_each_photographs_own_and_one_more_leaves_the_others_done(
    old: Path, colour: Colour, tmp_path: Path
) -> None:
    """Otherwise one dot painted on one of eighty thousand photographs would colour all of them again."""
    red = {"x": 0.5, "y": 0.5, "color": "#c82814", "radius": 0.2}
    given = {"a": [red], "sub/e.png": [red]}
    colour(old, hints=given)
    done = {record["input"]: record for record in colour.of("photo.done")}
    dots = [[0.5, 0.5, "#c82814", 0.2]]
    hinted = {name: record["controls"]["hints"] for name, record in done.items() if "hints" in record["controls"]}
    assert hinted == {"a.png": dots, "sub/e.png": dots}
    assert done["a.png"]["parameters"]["hints"] == dots
    assert "hints" not in done["b.png"]["parameters"]
    report = colour(old, hints={**given, "b.png": [red]}, overwrite=True)
    assert (report.done, report.already) == (1, 5)
    plain, outputs = tmp_path / "plain", old.with_name("old_colorized")
    colour(old, output=plain)
    with_dot, without = (np.asarray(Image.open(place / "a.png")).astype(int) for place in (outputs, plain))
    assert np.abs(with_dot - without)[12:20, 20:28].max() > 20
    assert (plain / "c.jpg").read_bytes() == (outputs / "c.jpg").read_bytes()
