"""The journal in crashes, the lock with concurrent runs, and what status and verify read back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from colorcli.colorize.audit import read_status, verify
from colorcli.colorize.events import VERSION, now, to_line
from colorcli.colorize.journal import History, Journal, journal_path, read_journal, records_at, skim_journal
from colorcli.colorize.options import Execution
from colorcli.colorize.places import Folder
from colorcli.errors import OutputError, UsageError
from colorcli.files import STATE_FOLDER
from colorcli.locks import locked

from .conftest import Colour, contents, write_gray


def event(name: str, fields: Mapping[str, object] | None = None) -> dict[str, object]:
    return {"v": VERSION, "event": name, "time": now(), **(fields or {})}


def test_each_output_keeps_the_parameters_that_it_was_made_with(tmp_path: Path) -> None:
    """A run with another seed would be taken for the one before it, and half of the archive stay as it was."""
    journal = Journal(tmp_path)
    for index, (weights, seed) in enumerate([("a", 0), ("a", 0), ("a", 1), ("b", 1), ("a", 0)]):
        record = {"input": f"{index}.jpg", "output": f"{index}.jpg", "sample": 0, "input_size": 1, "input_mtime_ns": 2,
                  "output_size": 3, "weights_sha256": weights, "parameters": {"seed": seed}}  # fmt: skip
        journal.append(event("photo.done", record))
    journal.close()
    made = [finished.fingerprint for _, finished in History.of(tmp_path).finished()]
    assert [json.loads(one)["weights_sha256"] for one in made] == ["a", "a", "a", "b", "a"]
    assert made[0] == made[1] == made[4] and len(set(made)) == 3


def test_a_skimmed_line_says_what_the_whole_one_does(old: Path, colour: Colour) -> None:
    """Plans and counts read only a part of most lines; a part that was read wrongly would decide about originals."""
    (old / "sub" / 'ü "x", \udcff.png').write_bytes((old / "a.png").read_bytes())
    (old / "none.png").write_bytes(b"")
    colour(old)
    root = old.with_name("old_colorized")
    journal = Journal(root)
    whole = next(record for record in read_journal(root) if record["event"] == "photo.done")
    beside = {"output": "a.png.xmp", "size": 3, "sha256": "0"}
    for change in ({"xmp": beside}, {"parameters": {"x": {"y": "}"}}}, {"parameters": {"x": "}"}}, {"input_size": "1"}):
        journal.append({key: value for key, value in {**whole, **change}.items() if key != "chain"})
    journal.close()
    lines = journal_path(root).read_bytes().splitlines(keepends=True)
    start = next(line for line in lines if b'"photo.start"' in line)
    journal_path(root).write_bytes(
        b"".join((*lines, start[:-20], b"\n", start[:-1].replace(b'"sample":0', b'"sample":9')))
    )
    skimmed, full = sorted(skim_journal(root), key=lambda one: one[1]), list(read_journal(root))
    needed = {"input", "sample", "output", "weights_sha256", "parameters", "input_size", "input_mtime_ns",
              "input_sha256", "output_size", "xmp", "code"}  # fmt: skip
    there = list(records_at(root, (place for _, place in skimmed)))
    for (short, place), record in zip(skimmed, there, strict=True):
        assert short.items() <= record.items(), place
        assert needed & short.keys() == needed & record.keys() and short["event"] == record["event"]
    parts = sum(len(short) < len(record) - 1 for (short, _), record in zip(skimmed, there, strict=True))
    assert parts == 7 + 2, "only of unusual lines all is read"
    left_out = [record for record in full if record not in there]
    assert [record for record in full if record in there] == there and len(full) == len(lines) + 1
    ended = {record["output"] for record in full[:-1] if record["event"] == "photo.done"}
    assert left_out and all(one["event"] == "photo.start" and one["output"] in ended for one in left_out)
    assert there[-1]["event"] == "photo.start", "which nothing ended"


def test_a_start_that_nothing_ended_is_remembered(tmp_path: Path) -> None:
    """The output of a run that was killed twice would be taken for somebody else's, and stand in its own way."""
    made_with = {"model": "a", "weights_sha256": "a", "parameters": {"seed": 0}}
    start = {"input": "a.jpg", "source": "/a.jpg", "sample": 0, "output": "a.jpg", **made_with}
    journal = Journal(tmp_path)
    journal.append(event("photo.start", start))
    journal.append(event("photo.start", {**start, "input": "b.jpg", "output": "b.jpg"}))
    journal.close()
    whole = journal_path(tmp_path).read_bytes()
    for cut in range(1, whole.index(b"\n")):
        journal_path(tmp_path).write_bytes(whole + whole[:cut] + b"\n")
        history = History.of(tmp_path)
        assert history.take("a.jpg").begun and history.take("b.jpg").begun, cut


def test_every_torn_last_line_is_survived(old: Path, colour: Colour) -> None:
    """A power cut in the middle of a line costs that line's photograph, not the journal."""
    colour(old)
    root = old.with_name("old_colorized")
    whole = journal_path(root).read_bytes()
    last = whole[: whole.rindex(b'"event":"photo.done"')].rindex(b"\n") + 1
    end = whole.index(b"\n", last) + 1
    for cut in range(last, end, 97):
        journal_path(root).write_bytes(whole[:cut])
        report = colour(old)
        assert (report.already, report.done, report.failed, report.conflicts) == (5, 1, 0, 0), cut
        lines = journal_path(root).read_bytes().split(b"\n")
        assert json.loads(lines[-2])["event"] == "run.end"
        assert colour(old).already == 6


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def write(number: int) -> None:
        for index in range(50):
            journal.append(event("test", {"thread": number, "index": index, "text": "x" * 500}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    records = list(read_journal(tmp_path))
    assert len(records) == 200
    for number in range(4):
        assert [r["index"] for r in records if r["thread"] == number] == list(range(50))


def test_a_line_is_on_the_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    journal = Journal(tmp_path)
    journal.append(event("one"))
    assert synced == [journal.path.stat().st_size]
    journal.close()


def test_after_a_failed_write_nothing_contradicts_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a line on a full disk, no further line may make the journal contradict itself."""
    journal = Journal(tmp_path)
    journal.append(event("one"))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        with pytest.raises(OutputError, match="disk is full"):
            journal.append(event("two"))
    with pytest.raises(OutputError):
        journal.append(event("three"))
    journal.close()
    journal = Journal(tmp_path)
    journal.append(event("four"))
    journal.close()
    assert [record["event"] for record in read_journal(tmp_path)] == ["one", "four"]


def test_a_journal_of_the_future_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"v": 2, "event": "photo.done"})
    journal.close()
    with pytest.raises(OutputError, match="newer"):
        History.of(tmp_path)


def test_nan_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_line(event("x", {"max_delta_l": float("nan")}))


def test_a_lock_of_a_killed_run_is_taken_over_and_explained(tmp_path: Path) -> None:
    """After kill -9, the same command continues, without a file that has to be removed by hand."""
    code = (
        "import os, signal, sys; from pathlib import Path; from colorcli.locks import locked\n"
        "with locked(*map(Path, sys.argv[1:])): print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path, tmp_path / STATE_FOLDER], capture_output=True, text=True, check=False
    )
    assert (tmp_path / ".colorcli" / "lock").is_file()
    with locked(tmp_path, tmp_path / STATE_FOLDER) as stale:
        assert stale is not None
        assert result.stdout.strip() in stale
    with locked(tmp_path, tmp_path / STATE_FOLDER) as stale:
        assert stale is None


def test_a_living_holder_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from colorcli.locks import locked\n"
        "with locked(*map(Path, sys.argv[1:])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, tmp_path / STATE_FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with (
            pytest.raises(OutputError, match=f"process {holder.pid} on {socket.gethostname()}"),
            locked(tmp_path, tmp_path / STATE_FOLDER),
        ):
            pass
        holder.stdin.close()
        holder.wait()
    with locked(tmp_path, tmp_path / STATE_FOLDER) as stale:
        assert stale is None


def test_a_lock_of_another_machine_is_respected(tmp_path: Path) -> None:
    """Whether that run is alive cannot be known on this machine, so the user is told which file to remove."""
    path = tmp_path / ".colorcli" / "lock"
    path.parent.mkdir()
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "yesterday"}))
    with pytest.raises(OutputError, match=r"elsewhere.*remove .*lock"), locked(tmp_path, tmp_path / STATE_FOLDER):
        pass
    assert path.is_file()
    # A training that a cluster starts again on another machine goes on.
    with locked(tmp_path, tmp_path / STATE_FOLDER, elsewhere=False) as stale:
        assert stale is not None


def test_status_adds_up(old: Path, colour: Colour) -> None:
    (old / "c.jpg").write_bytes(b"no JPEG")
    colour(old)
    root = old.with_name("old_colorized")
    status = read_status(root)
    assert status.counts() == {"done": 5, "failed": 1, "skipped": 0, "unfinished": 0}
    assert status.last_end is not None
    journal = Journal(root)
    journal.append(event("photo.start", {"input": "z.png", "output": "z.png"}))
    journal.close()
    assert read_status(root).counts()["unfinished"] == 1
    with pytest.raises(UsageError, match="no journal"):
        read_status(old)


def test_verify_finds_every_change(old: Path, colour: Colour) -> None:
    """A bit flipped after years on a disk is found, even if size and time are unchanged."""
    colour(old)
    root = old.with_name("old_colorized")
    assert verify(Folder(root)) == (6, [])
    assert verify(Folder(root), inputs=True) == (12, [])
    data = bytearray((root / "a.png").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "a.png").write_bytes(data)
    (root / "b.png").unlink()
    (old / "c.jpg").write_bytes(b"other")
    compared, mismatches = verify(Folder(root), inputs=True)
    assert compared == 12
    assert {(m.path, m.fault, m.side) for m in mismatches} == {
        ("a.png", "changed", "output"),
        ("b.png", "missing", "output"),
        (str(old / "c.jpg"), "changed", "input"),
    }
    assert len(contents(root)) == 5, "verify changes nothing"


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_journal_that_lost_its_end_is_noticed(old: Path, colour: Colour, kept: int) -> None:
    """The chain of checksums ends earlier and is sound: verify said that no file differs, of none."""
    colour(old, execution=Execution(jobs=1, fsync=False))
    root = old.with_name("old_colorized")
    (root / "copy.png").write_bytes((root / "a.png").read_bytes())
    write_gray(root / "by hand.png")
    assert verify(Folder(root)) == (6, [])
    path = journal_path(root)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    _, mismatches = verify(Folder(root))
    assert {(m.fault, m.side) for m in mismatches} == {("unlisted", "output")}
    assert {m.path for m in mismatches} >= {"b.png", "c.jpg", "d.tif", "sub/e.png", "sub/f.png"}


def test_an_output_begun_anew_is_known_until_it_is_replaced(old: Path, colour: Colour) -> None:
    """A run that is killed leaves the file of the run before it, which is no surprise; one without a record is."""
    colour(old)
    root = old.with_name("old_colorized")
    journal = Journal(root)
    journal.append(event("photo.start", {"input": "a.png", "output": "a.png"}))
    journal.close()
    assert verify(Folder(root))[1] == []
    (root / "a.png").write_bytes((root / "b.png").read_bytes().replace(b"IEND", b"iEND", 1))
    assert {(m.path, m.fault) for m in verify(Folder(root))[1]} == {("a.png", "unlisted")}


def test_an_altered_journal_is_noticed(old: Path, colour: Colour) -> None:
    """Renaming an event removed its output from the check, and verify reported no problem."""
    root = old.with_name("old_colorized")
    colour(old)
    (old / "new.png").write_bytes((old / "a.png").read_bytes())
    colour(old)  # a second run continues the chain
    assert verify(Folder(root))[1] == []
    path = journal_path(root)
    lines = path.read_bytes().splitlines(keepends=True)
    done = next(number for number, line in enumerate(lines) if b"photo.done" in line)
    output = json.loads(lines[done])["output"]
    renamed = [*lines[:done], lines[done].replace(b"photo.done", b"photo.dome"), *lines[done + 1 :]]
    added = [*lines[:done], b'{"v":1,"event":"photo.failed"}\n', *lines[done:]]
    for altered in (renamed, added, lines[:done] + lines[done + 1 :]):
        path.write_bytes(b"".join(altered))
        unlisted = [] if altered is added else [("unlisted", "output", output)]
        assert [(m.fault, m.side, m.path) for m in verify(Folder(root))[1]] == [
            ("changed", "journal", f".colorcli/journal.jsonl, line {done + 1}"),
            *unlisted,
        ]
    torn = lines[done][:40]
    path.write_bytes(b"".join(lines) + torn)
    (old / "newer.png").write_bytes((old / "a.png").read_bytes())
    colour(old)
    assert verify(Folder(root))[1] == [], "a torn line does not count as altered"
