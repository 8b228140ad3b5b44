"""Maps of uncertainty beside the outputs: whatever knows an output knows its map."""

from __future__ import annotations

import csv
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorcli.cli import main
from colorcli.colorize import delivery
from colorcli.colorize.audit import verify
from colorcli.colorize.executors import Work
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.places import Folder
from colorcli.colorize.run import Request, Run
from colorcli.colorize.watch import watch
from colorcli.errors import ModelError
from colorcli.pipeline import opening
from colorcli.registry import registry
from colorcli.stopping import Stop

from ..fakes import FakeSession, FlatSession
from ..report.conftest import picks_of
from .conftest import compiled, contents, write_gray

__all__ = ["compiled"]

ASKED = ("--uncertainty", "models", "-q")


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The model that colours differs from the others as the lightness of the photograph does."""

    def opened(card: Any, **_: Any) -> Any:
        return FakeSession(info=registry.model_info(card)) if card.system == "bigcolor" else FlatSession(a=30, b=26)

    monkeypatch.setattr(opening, "open_model", opened)
    monkeypatch.chdir(tmp_path)
    write_gray(tmp_path / "in" / "sub" / "light.png", value=190)
    write_gray(tmp_path / "in" / "dark.jpg", value=90)


def records(out: Path) -> list[dict[str, Any]]:
    lines = (out / ".colorcli" / "journal.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == "photo.done"]


def test_a_map_and_a_score_for_each_photograph(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colorize", "in", "-o", "out", *ASKED, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    scores = {event["input"]: event["uncertainty"] for event in events if event["event"] == "photo.done"}
    assert scores["sub/light.png"] != scores["dark.jpg"]
    for record in records(Path("out")):
        name = record["uncertainty_map"]
        assert name == f"{record['output']}.uncertainty.png"
        with Image.open(Path("out") / name) as image:
            assert (image.mode, image.size) == ("L", (48, 32))
            assert np.asarray(image).mean() / 10 == pytest.approx(record["uncertainty"], abs=0.1)
        assert record["uncertainty_ground"].startswith("models: zhang2016@lite ")
    assert main(["status", "out", "--csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {row["input"]: float(row["uncertainty"]) for row in rows} == scores


def test_the_pixels_are_those_without_it() -> None:
    """A measurement that changed what it measures."""
    assert main(["colorize", "in", "-o", "plain", "-q"]) == 0
    assert main(["colorize", "in", "-o", "out", *ASKED]) == 0
    for name in ("dark.jpg", "sub/light.png"):
        assert (Path("out") / name).read_bytes() == (Path("plain") / name).read_bytes()


def test_a_finished_run_gets_its_maps_by_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Eighty thousand outputs that are called conflicts, or finished without a map."""
    out = Path("out")
    assert main(["colorize", "in", "-o", "out", "-q"]) == 0
    before = (out / "dark.jpg").read_bytes()
    assert main(["colorize", "in", "-o", "out", *ASKED]) == 0
    assert (out / "dark.jpg").read_bytes() == before and len(records(out)) == 4
    for again in (ASKED, ("-q",)):
        assert main(["colorize", "in", "-o", "out", *again]) == 0
        assert len(records(out)) == 4, "nothing is made twice"
    (out / "dark.jpg.uncertainty.png").unlink()
    assert main(["colorize", "in", "-o", "out", *ASKED]) == 0
    assert (out / "dark.jpg.uncertainty.png").is_file() and len(records(out)) == 5
    assert main(["colorize", "in", "-o", "out", "--uncertainty", "samples", "-q"]) == 0
    assert len(records(out)) == 7, "another ground is another map"


def test_other_colours_do_not_keep_the_map_of_earlier_ones() -> None:
    """A map beside an output that it says nothing about."""
    out = Path("out")
    assert main(["colorize", "in", "-o", "out", *ASKED]) == 0
    (out / "sub" / "other.png.uncertainty.png").write_bytes(b"not ours")
    assert main(["colorize", "in", "-o", "out", "--seed", "5", "--overwrite", "-q"]) == 0
    assert [path.name for path in out.rglob("*.uncertainty.png")] == ["other.png.uncertainty.png"]
    assert verify(Folder(out)) == (2, [])


def test_verify_manifest_and_bag_know_the_maps() -> None:
    asked = (*ASKED, "--manifest", "--bag", "bag")
    assert main(["colorize", "in", "-o", "out", *asked]) == 0
    name = "dark.jpg.uncertainty.png"
    assert name in (Path("out") / delivery.MANIFEST).read_text()
    assert (Path("bag") / "data" / name).is_file()
    assert verify(Folder(Path("out"))) == (4, [])
    (Path("out") / name).write_bytes(b"another")
    count, mismatches = verify(Folder(Path("out")))
    assert count == 4 and [(one.path, one.fault) for one in mismatches] == [(name, "changed")]


def test_maps_are_no_photographs_of_a_later_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Gray pictures in a folder of photographs: the next run would colour them."""
    assert main(["colorize", "in", "-o", "in/made", *ASKED]) == 0
    capsys.readouterr()
    assert main(["colorize", "in", "-o", "again", "--dry-run", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(event["input"] for event in events if event["event"] == "plan.photo") == ["dark.jpg", "sub/light.png"]


def test_a_map_never_replaces_an_input_or_an_output() -> None:
    write_gray(Path("in") / "dark.jpg.uncertainty.png")
    before = (Path("in") / "dark.jpg.uncertainty.png").read_bytes()
    assert main(["colorize", "in", "-o", "out", *ASKED]) == 2
    assert not (Path("out") / "dark.jpg").exists()
    assert (Path("in") / "dark.jpg.uncertainty.png").read_bytes() == before


def test_shards_are_merged_with_their_maps() -> None:
    names = [f"{number}.png" for number in range(8)]
    for name in names:
        write_gray(Path("many") / name)
    for shard in ("1/2", "2/2"):
        assert main(["colorize", "many", "-o", shard[0], "--shard", shard, *ASKED]) == 0
    assert main(["merge", "1", "2", "-o", "out", "-q"]) == 0
    assert sorted(path.name for path in Path("out").glob("*.uncertainty.png")) == [
        f"{n}.uncertainty.png" for n in names
    ]
    assert verify(Folder(Path("out"))) == (16, [])


def test_the_report_shows_the_least_sure_first() -> None:
    assert main(["colorize", "in", "-o", "out", *ASKED, "--report"]) == 0
    scores = {record["input"]: record["uncertainty"] for record in records(Path("out"))}
    page = (Path("out") / "report.html").read_text()
    first, second = sorted(scores, key=lambda name: -scores[name])
    assert page.index(f'"name": "{first}"'.replace(" ", "")) < page.index(f'"name": "{second}"'.replace(" ", ""))
    assert '"sort":"uncertainty"' in page


def test_stdout_takes_one_image() -> None:
    assert main(["colorize", "in/dark.jpg", "-o", "-", *ASKED]) == 2


def test_workers_elsewhere_compare_with_the_same_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that says one thing on a laptop and another on the cluster."""

    def elsewhere(work: Work) -> LocalExecutor:
        sent = pickle.loads(pickle.dumps(work.open_ground_remotely))
        return LocalExecutor(replace(work, open_ground=lambda session: sent(session, threads=1)))

    request = Request((Path("in"),), output=Path("out"), uncertainty="models")
    assert Run(request).carry_out(executor=elsewhere).done == 2
    assert main(["colorize", "in", "-o", "here", *ASKED]) == 0
    assert contents(Path("out")) == contents(Path("here"))
    assert {one["uncertainty_ground"] for one in records(Path("out")) + records(Path("here"))} == {
        records(Path("here"))[0]["uncertainty_ground"]
    }
    run, find = Run(replace(request, output=Path("other"))), registry.find
    monkeypatch.setattr(registry, "find", lambda name: replace(find(name), weights_sha256="0" * 64))
    with pytest.raises(ModelError, match="would compare with models: zhang2016@lite 00000000"):
        run.carry_out(executor=elsewhere)


def test_a_watch_opens_the_models_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan station that reads three models from the disk for every photograph."""
    opened, open_one = list[str](), opening.open_model

    def counting(card: Any, **_: Any) -> Any:
        opened.append(card.name)
        return open_one(card)

    monkeypatch.setattr(opening, "open_model", counting)
    stop, made = Stop(), list[str]()

    def observe(event: Any) -> None:
        if event["event"] == "photo.done":
            made.append(event["uncertainty_map"])
            write_gray(Path("in") / "next.png", value=120)
        if len(made) == 3:
            stop.request()

    watch(
        Request((Path("in"),), output=Path("out"), uncertainty="models"), rest=0, poll=0.01, observe=observe, stop=stop
    )
    assert sorted(made) == [f"{name}.uncertainty.png" for name in ("dark.jpg", "next.png", "sub/light.png")]
    assert opened == ["bigcolor", "zhang2016", "efficientnet"]


def test_picks_keep_it_for_what_was_chosen() -> None:
    """The chosen colouring is made again; without its map, nobody would know what is not sure in it."""
    assert main(["colorize", "in", "-o", "two", "--samples", "2", "--report", *ASKED]) == 0
    Path("picks.json").write_text(json.dumps(picks_of(Path("two") / "report.html", {"dark.jpg": 1})))
    assert main(["colorize", "in", "--picks", "picks.json", "-o", "chosen", *ASKED]) == 0
    (record,) = records(Path("chosen"))
    (sample,) = (one for one in records(Path("two")) if one["input"] == "dark.jpg" and one["sample"] == 1)
    assert record["uncertainty"] == sample["uncertainty"]
    assert record["uncertainty_map_sha256"] == sample["uncertainty_map_sha256"]
