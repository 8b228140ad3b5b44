"""A cluster of two nodes on this machine: the same bytes as here, whatever is lost on the way."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colorcli.cli import main
from colorcli.colorize import discover
from colorcli.colorize.audit import read_status, verify
from colorcli.colorize.executors import Executor, OpenRemotely, Work
from colorcli.colorize.executors import ray as engine
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.executors.ray import RayExecutor
from colorcli.colorize.journal import files_of
from colorcli.colorize.options import Execution, choose_parameters
from colorcli.colorize.places import Folder
from colorcli.colorize.plan import make_plan
from colorcli.colorize.run import Report, carry_out
from colorcli.errors import DeviceError, ExitCode
from colorcli.pipeline.uncertainty import Ground
from colorcli.stopping import Stop

from ..conftest import ROOT
from ..fakes import INFO, FakeSession
from ..processes import await_done, await_word
from .conftest import contents, write_gray
from .test_resume import complete, finished, start

ray: Any = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

COUNT = 12


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each; one more can be added and killed."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    made = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20}
    )
    made.add_node(num_cpus=1, object_store_memory=80 << 20)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(COUNT):
        write_gray(tmp_path / "in" / f"{index:02}.{('png', 'jpg', 'tif')[index % 3]}")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no photograph")
    return tmp_path / "in"


def opened(*, threads: int, fault: Callable[[Any, Any], Any] | None = None) -> FakeSession:
    return FakeSession(fault)


def constant(session: Any, *, threads: int = 1) -> Ground:
    return Ground("models: one", 10.0, lambda seen, shape: np.full(shape, seen.answer[0].mean(), np.float32))


def deadly(marks: Path, times: int, value: int, lightness: Any, chroma: Any) -> None:
    """End the process ``times`` times over photographs of this lightness; the files in ``marks`` count."""
    if round(float(np.median(lightness))) == value and len(list(marks.iterdir())) < times:
        (marks / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def colour(
    photos: Path,
    root: Path,
    executor: Callable[[Work], Executor],
    *,
    open_remotely: OpenRemotely = opened,
    stop: Stop | None = None,
    observe: Callable[[Any], None] = lambda event: None,
) -> Report:
    parameters, execution = choose_parameters(INFO), Execution(jobs=1, fsync=False)
    found = discover.discover(discover.sources([photos], [], root))
    plan = make_plan(found, parameters, INFO.weights_sha256)
    work = Work(FakeSession, parameters, execution, stop or Stop(), open_remotely, constant, constant)
    return carry_out(plan, executor(work), INFO, work, observe=observe)


def test_both_engines_make_the_same_and_take_each_others_runs_for_done(cluster: Any, photos: Path) -> None:
    """An archive begun on the cluster is finished on a laptop, and nothing is done twice."""
    there, here = photos.with_name("ray"), photos.with_name("local")
    events: list[Any] = []
    report = colour(photos, there, partial(RayExecutor, workers=2), observe=events.append)
    assert (report.done, report.failed, report.unprocessed) == (COUNT, 1, 0)
    colour(photos, here, LocalExecutor)
    assert contents(there) == contents(here)
    assert len(list(there.glob("*.uncertainty.png"))) == COUNT
    assert read_status(there).counts() == read_status(here).counts()
    assert verify(Folder(there), inputs=True)[1] == []
    assert all(event["worker"] for event in events if event["event"] == "photo.done")
    (photos / "broken.jpg").unlink()
    assert colour(photos, there, LocalExecutor).already == COUNT
    assert colour(photos, here, partial(RayExecutor, workers=2)).already == COUNT


def test_a_worker_and_a_node_that_die_lose_nothing(cluster: Any, photos: Path, tmp_path: Path) -> None:
    """Spot machines go away in the middle of the night."""
    (photos / "broken.jpg").unlink()
    write_gray(photos / "mark.png", value=128)
    colour(photos, tmp_path / "local", LocalExecutor)
    lost = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    (tmp_path / "marks").mkdir()
    value = 54  # L* of the gray value 128
    dies = partial(opened, fault=partial(deadly, tmp_path / "marks", 1, value))
    said: list[str] = []
    ended = 0

    def observe(event: Any) -> None:
        nonlocal ended
        said.extend([event["message"]] if event["event"] == "notice" else [])
        ended += event["event"] == "photo.done"
        if ended == 4:
            ended += 1
            cluster.remove_node(lost, allow_graceful=False)

    report = colour(photos, tmp_path / "ray", partial(RayExecutor, workers=3), open_remotely=dies, observe=observe)
    assert (report.done, report.failed, report.unprocessed) == (COUNT + 1, 0, 0)
    assert len(list((tmp_path / "marks").iterdir())) == 1
    assert any("was lost" in text for text in said)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert read_status(tmp_path / "ray").counts()["done"] == COUNT + 1
    assert verify(Folder(tmp_path / "ray"))[1] == []


def test_a_photograph_that_ends_every_worker_fails_alone(cluster: Any, photos: Path, tmp_path: Path) -> None:
    """One file that crashes a decoder does not cost the archive."""
    (photos / "broken.jpg").unlink()
    write_gray(photos / "mark.png", value=128)
    (tmp_path / "marks").mkdir()
    dies = partial(opened, fault=partial(deadly, tmp_path / "marks", 99, 54))
    report = colour(photos, tmp_path / "ray", partial(RayExecutor, workers=2), open_remotely=dies)
    assert (report.done, [failure.input for failure in report.failures]) == (COUNT, ["mark.png"])


def _refuse(*, threads: int) -> FakeSession:
    raise MemoryError("no room for the model here")


def test_workers_that_fail_every_time_are_left_out_and_said(
    cluster: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without room for the model would be started on for ever."""
    monkeypatch.setattr(engine, "_WORKER_LOSSES", 2)
    with pytest.raises(DeviceError, match="no room for the model here"):
        colour(photos, photos.with_name("ray"), partial(RayExecutor, workers=1), open_remotely=_refuse)


def test_a_stop_finishes_what_is_in_flight(cluster: Any, photos: Path) -> None:
    """Ctrl-C: what is done is journalled, the rest is for the next run."""
    stop = Stop()

    def observe(event: Any) -> None:
        if event["event"] == "photo.done":
            stop.request(signal.SIGINT)

    report = colour(photos, photos.with_name("ray"), partial(RayExecutor, workers=2), stop=stop, observe=observe)
    assert report.exit_code == ExitCode.INTERRUPTED
    assert 0 < report.done < COUNT
    assert set(contents(photos.with_name("ray"))) == {
        name for _, record in read_status(photos.with_name("ray")).records("done") for name, _, _ in files_of(record)
    }
    rest = colour(photos, photos.with_name("ray"), LocalExecutor)
    assert rest.done + report.done == COUNT


class _Slow:
    """A network that says when it begins, and takes its time."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark
        self._begun = False

    def __call__(self, lightness: Any, chroma: Any) -> None:
        if not self._begun:
            self._begun = True
            self._mark.write_text("begun")
        time.sleep(0.5)


def test_a_stop_does_not_wait_for_the_end_of_a_chunk(
    cluster: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two minutes' notice before a spot machine goes, and the chunk would take three."""
    monkeypatch.setattr(engine, "_CHUNKS_EACH", 1)
    os.mkfifo(tmp_path / "mark")
    stop = Stop()

    def ask() -> None:
        await_word(tmp_path / "mark")
        stop.request(signal.SIGUSR1)

    asking = threading.Thread(target=ask)
    asking.start()
    slow = partial(opened, fault=_Slow(tmp_path / "mark"))
    report = colour(photos, tmp_path / "ray", partial(RayExecutor, workers=1), open_remotely=slow, stop=stop)
    asking.join()
    assert 0 < report.done < COUNT
    assert report.unprocessed == COUNT + 1 - report.done - report.failed


def test_sigterm_drains_the_command(tmp_path: Path) -> None:
    """Ray takes the signal for itself: what is in flight would be lost, and the exit code say nothing."""
    for index in range(COUNT):
        write_gray(tmp_path / "in" / f"{index:02}.png")
    complete(tmp_path / "in", "-o", "reference")
    process = start(tmp_path / "in", 0.2, "no", "-o", "out", "--engine", "ray", "--workers", "1", "--json")
    await_done(process, 1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == ExitCode.TERMINATED, err
    assert "Traceback" not in err
    assert "run again to continue" in err
    assert set(contents(tmp_path / "out")) == finished(tmp_path / "out")
    assert not (tmp_path / "out" / ".colorcli" / "lock").exists()
    complete(tmp_path / "in", "-o", "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


def test_options_of_the_cluster_without_it_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colorize", "nowhere", "--workers", "2"]) == ExitCode.USAGE
    assert "are for --engine ray" in capsys.readouterr().err
