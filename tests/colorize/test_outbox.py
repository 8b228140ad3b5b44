"""Photographs and outputs in an object store: the same results as in folders, whatever the store does meanwhile."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from colorcli import stores
from colorcli.cli import main
from colorcli.colorize import outbox
from colorcli.colorize.journal import altered_lines, read_journal
from colorcli.colorize.options import Execution
from colorcli.colorize.outbox import Outbox
from colorcli.colorize.run import Report, Request, run
from colorcli.errors import ExitCode, OutputError
from colorcli.images import write
from colorcli.pipeline import opening

from .conftest import contents, write_gray

IN, OUT = stores.checked("memory://in"), stores.checked("memory://out/x")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
WRITES = ("put_file", "pipe_file", "rm_file")


class Store(MemoryFileSystem):  # type: ignore[misc]
    """A store of its own; ``fault`` is called before every operation, with its name and that of its object."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs = [""]
        self.fault: Callable[[str, str], None] = lambda operation, name: None

    def add(self, folder: Path, name: str) -> None:
        """Copy a folder into it."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.pipe_file(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def contents(self, name: str) -> dict[str, bytes]:
        """As ``conftest.contents``."""
        found = {key.removeprefix(f"/{name}/"): file.getvalue() for key, file in sorted(self.store.items())}
        return {key: content for key, content in found.items() if key[0] != "/" and ".colorcli" not in key}


def _faulty(operation: str) -> Callable[..., Any]:
    original = getattr(MemoryFileSystem, operation)

    def asked(self: Store, *args: Any, **options: Any) -> Any:
        name = str(args[1] if operation == "put_file" else args[0])
        self.fault(operation, name)
        return original(self, *args, **options)

    return asked


for _operation in (*WRITES, "ls", "info", "cat_file", "get_file"):
    setattr(Store, _operation, _faulty(_operation))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, faked: Path) -> Iterator[Store]:
    """An empty store, which colorcli uses for ``memory://``."""
    made = Store()
    monkeypatch.setattr(stores, "_driver_of", lambda scheme: made)
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(outbox, "LEASE", 0.02)
    yield made


@pytest.fixture
def photos(store: Store, faked: Path) -> Path:
    """A folder of three photographs, one with an XMP file, that is in the store too."""
    for name in ("a.png", "b.jpg", "sub/c.tif"):
        write_gray(faked / "in" / name)
    (faked / "in" / "sub" / "c.tif.xmp").write_bytes(XMP)
    store.add(faked / "in", "in")
    return faked / "in"


def colour(output: Any = OUT, *inputs: Any, observe: Any = lambda record: None, **options: Any) -> Report:
    """Colour the photographs of the store."""
    request = Request(inputs or (IN,), output=output, execution=Execution(jobs=1, fsync=False), **options)
    return run(request, observe=observe)


def journal() -> list[dict[str, Any]]:
    """The records of the journal in the store."""
    place = Outbox(OUT)
    place.journal_size()
    assert not altered_lines(place.root)
    return list(read_journal(place.root))


def test_outputs_and_journal_are_those_of_folders(photos: Path, store: Store) -> None:
    """Where photographs lie decides nothing about their colours, metadata or records."""
    local = photos.with_name("local")
    assert colour(local, photos).exit_code == ExitCode.OK
    report = colour()
    assert (report.done, report.exit_code) == (3, ExitCode.OK)
    assert store.contents("out/x") == contents(local)
    assert "sub/c.tif.xmp" in contents(local)

    def records(journalled: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        differing = ("time", "seconds", "source", "input_mtime_ns", "chain")
        done = [record for record in journalled if record["event"] == "photo.done"]
        return {str(r["output"]): {key: r[key] for key in r if key not in differing} for r in done}

    assert records(journal()) == records(read_journal(local))
    assert {record["source"] for record in journal() if "source" in record} == {
        f"memory://in/{name}" for name in contents(local) if not name.endswith(".xmp")
    }
    assert sorted(key for key in store.store if ".colorcli" in key and "journal" not in key) == [], "the lock is gone"


@pytest.mark.parametrize("where", ["from a store", "into a store"])
def test_one_side_may_be_a_folder(photos: Path, store: Store, where: str) -> None:
    """Originals on a disk go into a bucket, and those of a bucket onto a disk."""
    local = photos.with_name("local")
    report = colour(local, IN) if where == "from a store" else colour(OUT, photos)
    assert (report.done, report.exit_code) == (3, ExitCode.OK)
    assert len(contents(local) if where == "from a store" else store.contents("out/x")) == 4
    again = colour(local, IN) if where == "from a store" else colour(OUT, photos)
    assert (again.done, again.already) == (0, 3)


def test_a_finished_run_has_nothing_left_to_do(photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, written or opened to find that out."""
    monkeypatch.setattr(outbox, "SEGMENT", 1000)
    colour()
    assert len([key for key in store.store if "journal-" in key]) > 2, "several segments"
    before = dict(store.store)
    fetched: list[str] = []

    def watch(operation: str, name: str) -> None:
        assert operation not in WRITES
        fetched.extend([name] if operation in ("get_file", "cat_file") and ".colorcli" not in name else [])

    store.fault = watch
    monkeypatch.setattr(opening, "open_model", lambda *_, **__: pytest.fail("no model is needed"))
    assert (colour().already, fetched, store.store) == (3, [], before)


def test_an_original_that_was_replaced_is_in_conflict(photos: Path, store: Store) -> None:
    """As in a folder: an output of another original is not silently kept, nor silently replaced."""
    colour()
    store.pipe_file("in/a.png", store.cat_file("in/a.png"))
    assert colour().already == 3, "only the time is another"
    store.pipe_file("in/a.png", write_gray(photos / "other.png").read_bytes())
    assert (colour().conflicts, colour(overwrite=True).done) == (1, 1)


def test_a_run_killed_at_any_moment_is_continued(photos: Path, store: Store) -> None:
    """After a kill -9 nothing is lost, nothing is recorded that is not there, and nothing of ours is in the way."""
    store.rm_file("in/b.jpg")  # for the test's speed
    colour()
    killed = ExitCode.OUTPUT
    expected, start = store.contents("out/x"), {key: file for key, file in store.store.items() if key[:4] == "/in/"}
    for moment in range(1, 100):
        store.store.clear()
        store.store.update(start)
        count = iter(range(1, 1000))

        def die(operation: str, name: str, moment: int = moment, count: Iterator[int] = count) -> None:
            if operation in WRITES and next(count) >= moment:  # of the dead nothing more is heard
                raise OSError(errno.EPIPE, "dead")

        store.fault = die
        with suppress(OutputError):
            killed = colour().exit_code
        store.fault = lambda operation, name: None
        there = store.contents("out/x")
        for record in journal():
            assert record["event"] != "photo.done" or record["output"] in there
        report = colour()
        assert (report.exit_code, report.done + report.already) == (ExitCode.OK, 2), f"killed at {moment}"
        assert store.contents("out/x") == expected
        if killed == ExitCode.OK:
            break
    assert moment > 7


@pytest.mark.parametrize(
    "error",
    [
        lambda: OSError(errno.EBUSY, "Please reduce your request rate."),
        TimeoutError,
        lambda: ConnectionResetError(errno.ECONNRESET, "reset"),
    ],
    ids=["throttled", "timed out", "reset"],
)
def test_a_store_that_falters_costs_no_photograph_and_one_that_fails_is_named(
    photos: Path, store: Store, error: Callable[[], Exception]
) -> None:
    """Faults that pass are waited for; of those that stay, an object's ends its photograph, the output's the run."""
    seen: set[tuple[str, str]] = set()

    def falter(operation: str, name: str) -> None:
        if (operation, name) not in seen:
            seen.add((operation, name))
            raise error()

    store.fault = falter
    assert (colour().done, len(seen) > 10) == (3, True)

    def fail(operation: str, name: str) -> None:
        if operation == "get_file" and "a.png" in name:
            raise error()

    store.fault = fail
    report = colour(OUT, overwrite=True, strength=0.5)
    assert (report.done, report.exit_code) == (2, ExitCode.SOME_FAILED)
    assert report.failures[0].input == "a.png"
    assert "the store" in report.failures[0].reason

    def refuse(operation: str, name: str) -> None:
        if operation == "put_file":
            raise error()

    store.fault = refuse
    report = colour(OUT, overwrite=True, strength=0.6)
    assert report.exit_code == ExitCode.OUTPUT
    assert "memory://out/x cannot be written: the " in str(report.fatal)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENAMETOOLONG, "Your key is long"), "memory://out/x/a.png cannot be written: Your key is long"),
        (PermissionError("Access Denied"), "memory://out/x/a.png cannot be written: access is denied"),
        (None, "memory://out/x/a.png cannot be written: the coloured picture has 0 rows"),
    ],
    ids=["too long", "denied", "not the store's"],
)
def test_an_output_that_fails_alone_ends_its_photograph(
    photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError | None, words: str
) -> None:
    """As in a folder; the scratch file goes, and no message speaks of it."""

    def refuse(operation: str, name: str) -> None:
        if error is not None and operation == "put_file" and name.endswith("out/x/a.png"):
            raise error

    store.fault = refuse
    if error is None:
        original = write._checked
        monkeypatch.setattr(
            write, "_checked", lambda strips, *rest: original([] if rest[-1].endswith("a.png") else strips, *rest)
        )
    scratch = photos.with_name("scratch")
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    left: list[Path] = []

    def look(record: Any) -> None:
        if record["event"] == "photo.failed":
            left.extend(scratch.rglob("a.png"))

    report = colour(observe=look)
    assert (report.done, report.exit_code, left) == (2, ExitCode.SOME_FAILED, [])
    assert words in report.failures[0].reason


def test_no_secret_is_journalled_or_told(photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals are handed over with the outputs."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hushhush1234")

    def refuse(operation: str, name: str) -> None:
        if operation == "get_file" and "a.png" in name:
            raise ValueError("https://host/a?X-Amz-Signature=hushhush with hushhush1234")

    store.fault = refuse
    told: list[Any] = []
    assert colour(observe=told.append).failed == 1
    assert "hush" not in json.dumps(told)
    assert not any(b"hush" in file.getvalue() for file in store.store.values())


def _lock(store: Store, **holder: Any) -> None:
    since = {"pid": os.getpid(), "host": "elsewhere", "machine": "", "since": "today", "shard": None}
    store.pipe_file("out/x/.colorcli/lock-other", json.dumps({**since, **holder}).encode())


def test_a_run_that_is_at_work_keeps_others_out(photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs would colour everything twice."""
    monkeypatch.setattr(outbox, "LEASE", 2.0)
    _lock(store)
    beats = itertools.count()

    def beat(operation: str, name: str) -> None:
        if operation == "cat_file" and "lock-other" in name:
            _lock(store, beat=next(beats))

    store.fault = beat
    with pytest.raises(OutputError, match=r"memory://out/x is in use by process \d+ on elsewhere"):
        colour()
    assert [key for key in store.store if "lock-" in key] == ["/out/x/.colorcli/lock-other"]


@pytest.mark.parametrize("ended", ["here", "elsewhere"])
def test_a_lock_that_a_killed_run_left_is_taken_over(
    photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    """Nobody has to clean up after a crash: at once on the same machine, after a lease on another."""
    monkeypatch.setattr(outbox, "LEASE", 60.0 if ended == "here" else 0.02)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    machine = outbox._machine()
    if ended == "here" and not machine:
        pytest.skip("this system does not tell machines apart")
    _lock(store, **({"pid": gone.pid, "machine": machine} if ended == "here" else {}))
    assert colour().done == 3


def test_a_run_whose_lock_was_taken_over_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose machine was suspended may renew its lock just after another run has removed it: two would be at work."""
    monkeypatch.setattr(outbox, "BEAT", 0.01)
    monkeypatch.setattr(outbox, "LEASE", 0.0)
    place = Outbox(OUT)
    with place.locked(print, lambda: False):
        _lock(store)
        assert place._lost.wait(5)
        with pytest.raises(OutputError, match="another run has taken over its lock"):
            place.journal(fsync=False).append({"event": "run.start"})


def test_the_scratch_folder_of_a_killed_run_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-made outputs would fill TMPDIR; those of runs at work stay."""
    if not outbox._machine():
        pytest.skip("this system does not tell machines apart")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "from colorcli.colorize import outbox; import os; print(outbox._scratch()); os._exit(9)"
    left = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert Path(left.stdout.strip()).is_dir()
    mine = outbox._scratch()
    assert outbox._scratch() != mine
    assert mine.is_dir()
    assert not Path(left.stdout.strip()).exists()


def test_shards_share_one_place(photos: Path, store: Store) -> None:
    """Each machine colours its part into the same bucket at the same time, and there is nothing to merge."""
    write_gray(photos / "e.png")  # the only one of the second part
    store.add(photos, "in")
    _lock(store, shard=[2, 2])
    first = colour(shard=(1, 2))
    store.rm_file("out/x/.colorcli/lock-other")
    second = colour(shard=(2, 2))
    assert (first.done, second.done) == (3, 1)
    assert colour().already == 4


def test_outputs_among_the_originals_are_left_alone(photos: Path, store: Store) -> None:
    """Outputs may go below the originals, but never over them."""
    inside = stores.checked("memory://in/coloured")
    assert colour(inside).done == 3
    assert colour(inside).already == 3
    assert main(["colorize", IN, "-o", IN]) == ExitCode.USAGE


def test_a_name_that_no_file_can_have_fails_alone(photos: Path, store: Store) -> None:
    """Keys may hold anything; what would lead out of the output folder is not followed."""
    store.pipe_file("in/../../etc/a.png", b"x")
    report = colour(photos.with_name("local"), IN)
    assert (report.done, report.exit_code) == (3, ExitCode.SOME_FAILED)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["colorize", IN], "cannot be placed beside"),
        (["colorize", IN, "-o", OUT, "--report"], "--report cannot be used when the outputs go to a store"),
        (["colorize", IN, "-o", OUT, "--report", "--bag", "b"], "--report or --bag cannot be used when"),
        (["colorize", IN, "-o", OUT, "--engine", "ray"], "not URLs"),
        (["colorize", IN, "-o", "out.jpg"], "names a file"),
        (["colorize", IN, "-o", "-"], "one image"),
        (["colorize", "memory://nothing", "-o", OUT], "nothing at memory://nothing"),
        (["colorize", "s3://key:hush@bucket", "-o", OUT], "credentials"),
        (["merge", OUT, "-o", "out"], "(for S3: aws s3 sync URL FOLDER), and give the copy"),
        (["status", OUT], "memory://out/x holds no journal"),
        (["verify", "memory://nothing"], "memory://nothing holds no journal"),
        (["watch", "memory://in", "-o", "out"], "a path on this machine"),
    ],
)
def test_what_stores_cannot_do_is_refused(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """Each with a sentence and the exit code of wrong use, before anything is written."""
    assert main(arguments) == ExitCode.USAGE
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "hush" not in said


def test_what_a_store_holds_is_counted_and_compared(
    photos: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody wants to copy a million photographs to learn whether they are all there."""
    assert main(["colorize", IN, "-o", OUT, "--manifest", "--sidecar"]) == ExitCode.OK
    local = photos.with_name("local")
    assert main(["colorize", str(photos), "-o", str(local), "--manifest", "--sidecar"]) == ExitCode.OK
    assert store.contents("out/x").keys() == contents(local).keys()
    listed = store.contents("out/x")["SHA256SUMS"].decode()
    outputs = [line for line in (local / "SHA256SUMS").read_text().splitlines() if not line.endswith(".json")]
    assert set(outputs) < set(listed.splitlines())
    capsys.readouterr()
    assert main(["status", OUT]) == ExitCode.OK
    assert "3 done, 0 skipped, 0 failed" in capsys.readouterr().out
    assert main(["verify", OUT, "--inputs"]) == ExitCode.OK
    store.pipe_file("out/x/a.png", bytes(len(store.contents("out/x")["a.png"])))
    store.rm_file("out/x/b.jpg")
    store.rm_file("out/x/b.jpg.json")
    store.pipe_file("in/sub/c.tif", b"")
    capsys.readouterr()
    assert main(["verify", OUT, "--inputs"]) == ExitCode.VERIFICATION
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "changed input memory://in/sub/c.tif",
        "changed output a.png",
        "missing output b.jpg",
        "missing sidecar b.jpg.json",
    ]


def test_a_chosen_sample_of_a_photograph_in_a_store(photos: Path) -> None:
    """What was chosen on a page made from folders is coloured from the store, if it is the same photograph."""
    samples = photos.with_name("samples")
    assert main(["colorize", str(photos), "-o", str(samples), "--samples", "2", "--sigma", "3"]) == ExitCode.OK
    done = [record for record in read_journal(samples) if record["event"] == "photo.done"]
    chosen = next(one for one in done if one["sample"] == 1 and one["input"] == "b.jpg")
    made_with = {key: chosen[key] for key in ("model", "weights_sha256", "parameters")}
    pick = {key: chosen[key] for key in ("input", "source", "input_sha256", "sample")}
    picks = {"version": 1, **made_with, "picks": [pick]}
    photos.with_name("picks.json").write_text(json.dumps(picks))
    assert main(["colorize", IN, "--picks", str(photos.with_name("picks.json")), "-o", OUT]) == ExitCode.OK
    copied = Outbox(OUT).read("b.jpg")
    assert copied == (samples / str(chosen["output"])).read_bytes()


def test_a_single_object_is_looked_up_once(photos: Path, store: Store) -> None:
    """Lists of objects are given to many short runs, and each request has its price."""
    asked: list[tuple[str, str]] = []
    store.fault = lambda operation, name: asked.append((operation, name))
    assert main(["colorize", f"{IN}/b.jpg", "-o", OUT, "--dry-run"]) == ExitCode.OK
    assert asked.count(("info", "in/b.jpg")) == 1


def test_the_command_names_urls(photos: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has to know of the scratch folder."""
    assert main(["colorize", IN, "-o", OUT, "--dry-run"]) == ExitCode.OK
    assert "memory://in/sub/c.tif -> memory://out/x/sub/c.tif" in capsys.readouterr().out
    assert main(["colorize", f"{IN}/b.jpg", "-o", OUT]) == ExitCode.OK
    assert list(store.contents("out/x")) == ["b.jpg"]
    assert "1 coloured, 0 skipped" in (said := capsys.readouterr().err)
    assert said.rstrip().endswith(": memory://out/x")
