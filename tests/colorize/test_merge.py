"""Shards made by several machines become one folder, which later runs continue."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from colorcli.cli.app import app
from colorcli.cli.docs import page_path
from colorcli.colorize import report
from colorcli.colorize.audit import read_status, verify
from colorcli.colorize.journal import segments
from colorcli.colorize.merge import merge
from colorcli.colorize.places import Folder
from colorcli.colorize.plan import Selection
from colorcli.errors import OutputError, UsageError
from colorcli.locks import locked

from ..fakes import INFO
from .conftest import Colour, contents, write_gray

COUNT = 3


@pytest.fixture
def shards(old: Path, colour: Colour) -> list[Path]:
    """The six photographs of ``old`` in three shards; and all of them in ``whole``."""
    (old / "broken.jpg").write_bytes(b"no photograph")
    colour(old, output=old.with_name("whole"))
    roots = [old.with_name(f"part{index}") for index in range(1, COUNT + 1)]
    for index, root in enumerate(roots, 1):
        colour(old, output=root, selection=Selection((index, COUNT)))
    assert all(contents(root) for root in roots), "each shard has something"
    return roots


def test_merged_shards_are_what_one_run_would_have_made(old: Path, shards: list[Path], colour: Colour) -> None:
    """After a job array over a weekend, the archive gets one folder."""
    before = {root: contents(root) for root in shards}
    merged = merge(shards, old.with_name("all"))
    assert (merged.outputs, merged.placed, merged.missing) == (6, 6, [])
    assert contents(old.with_name("all")) == contents(old.with_name("whole"))
    assert {root: contents(root) for root in shards} == before
    status = read_status(old.with_name("all"))
    assert status.counts() == read_status(old.with_name("whole")).counts()
    assert status.runs == COUNT
    assert verify(Folder(old.with_name("all")), inputs=True)[1] == []
    again = colour(old, output=old.with_name("all"))
    assert (again.already, again.done) == (6, 0)


def test_a_shard_that_has_grown_is_merged_again(old: Path, shards: list[Path], colour: Colour) -> None:
    merge(shards, old.with_name("all"))
    for number in range(9):
        write_gray(old / f"late{number}.png")
    for index, root in enumerate(shards, 1):
        colour(old, output=root, selection=Selection((index, COUNT)))
    merged = merge(shards, old.with_name("all"))
    assert (merged.outputs, merged.placed) == (15, 9)
    assert len(segments(old.with_name("all"))) == COUNT, "a longer journal takes the place of its beginning"
    assert colour(old, output=old.with_name("all")).already == 15


def test_one_of_the_shards_can_take_in_the_others(old: Path, shards: list[Path], colour: Colour) -> None:
    merge(shards, shards[0])
    assert contents(shards[0]) == contents(old.with_name("whole"))
    assert colour(old, output=shards[0]).already == 6


def test_an_altered_segment_is_detected(old: Path, shards: list[Path]) -> None:
    merge(shards, old.with_name("all"))
    path = segments(old.with_name("all"))[1]
    path.write_bytes(path.read_bytes().replace(b"photo.done", b"photo.dome"))
    found = verify(Folder(old.with_name("all")))[1]
    assert {(m.fault, m.side, path.name in m.path) for m in found} == {
        ("changed", "journal", True),
        ("unlisted", "output", False),
    }


def test_missing_outputs_are_reported_and_made_again(old: Path, shards: list[Path], colour: Colour) -> None:
    name = next(iter(contents(shards[1])))
    (shards[1] / name).unlink()
    assert merge(shards, old.with_name("all")).missing == [name]
    assert colour(old, output=old.with_name("all")).done == 1
    assert contents(old.with_name("all")) == contents(old.with_name("whole"))


def test_folders_that_are_not_shards_of_one_run_are_refused(old: Path, shards: list[Path], colour: Colour) -> None:
    """Nothing is overwritten, and nothing is begun that cannot be finished."""
    colour(old, output=old.with_name("other"), strength=0.5)
    with pytest.raises(UsageError, match="only shards of one run"):
        merge([*shards, old.with_name("other")], old.with_name("all"))
    assert contents(old.with_name("all")) == {}
    with pytest.raises(UsageError, match="holds no journal"):
        merge([old], old.with_name("all"))
    with pytest.raises(UsageError, match="nothing to merge"):
        merge(shards[:1], shards[0])
    name = next(iter(contents(shards[0])))
    write_gray(old.with_name("all") / name)
    with pytest.raises(UsageError, match="is in the way"):
        merge(shards, old.with_name("all"))
    with locked(shards[0], shards[0] / ".colorcli"), pytest.raises(OutputError, match="in use"):
        merge(shards, old.with_name("else"))


def test_reports_are_merged(old: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The merged report has the thumbnails of all shards, and what failed in any of them."""
    monkeypatch.setattr("colorcli.registry.registry.find", lambda name: name)
    monkeypatch.setattr("colorcli.registry.registry.model_info", lambda card: INFO)
    (shards[2] / report.NAME).touch()
    (page,) = merge(shards, old.with_name("all")).reports
    text = page.read_text(encoding="utf-8")
    for name in (*contents(old.with_name("whole")), "broken.jpg"):
        assert name in text
    assert "<dt>Shards</dt><dd>3</dd>" in re.sub(r">\s+<", "><", text), "one shard's end is not that of all"
    assert "<dt>Exit codes</dt><dd>0, 3</dd>" in re.sub(r">\s+<", "><", text)


def test_the_array_job_of_the_page_colours_each_part_once_and_merges(tmp_path: Path) -> None:
    """A pasted script must not colour the same half twice, nor end in "no such option"."""
    (script,) = re.findall(r"^```bash\n(.*?)^```", page_path("scale").read_text(encoding="utf-8"), re.M | re.S)
    first, last, _ = map(int, re.findall(r"--array=(\d+)-(\d+)%(\d+)", script)[0])
    stub = tmp_path / "colorcli"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> "$CALLS"\n')
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for program in (stub, tmp_path / "srun"):
        program.chmod(0o755)
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls)}
    for task in range(first, last + 1):
        variables = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(last - first + 1)}
        subprocess.run([shutil.which("bash") or "bash", "-c", script], env={**environment, **variables}, check=True)
    root: Any = typer.main.get_command(app)
    command = root.commands["colorize"]
    shards, outputs = set(), set()
    for line in calls.read_text().splitlines():
        name, *arguments = line.split()
        assert name == "colorize"
        given = command.make_context("colorize", arguments).params
        shards.add(given["shard"])
        outputs.add(given["output"])
    assert shards == {f"{index}/{last}" for index in range(1, last + 1)}
    assert len(outputs) == last
