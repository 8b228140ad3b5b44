"""The backend with which a model is opened, and the ONNX copies in the cache."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from filelock import FileLock

from colorcli.errors import ModelError, StoppedError, UsageError
from colorcli.export import exporter
from colorcli.pipeline import onnx_copy, opening
from colorcli.pipeline.onnx_copy import copy_path
from colorcli.pipeline.opening import WORTH_EXPORTING, open_model
from colorcli.registry.card import ModelCard
from colorcli.sessions.onnx import _PROVIDERS, OnnxSession
from colorcli.sessions.pytorch import PyTorchSession


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "gpu_in_sight", lambda: False)


@pytest.fixture(scope="session")
def content() -> list[bytes]:
    """The ONNX copy of ``small``, once it was made."""
    return []


@pytest.fixture
def made_here(content: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX copies are made in this process, and from the second on copied, since an export takes seconds."""

    def export(card: ModelCard, path: Path, *_: object) -> None:
        if not content:
            exporter.export(card, path)
            content.append(path.read_bytes())
        path.write_bytes(content[0])

    monkeypatch.setattr(onnx_copy, "_export", export)


@pytest.mark.slow
def test_auto_makes_a_copy_where_it_pays_and_keeps_to_it(small: ModelCard) -> None:
    """Otherwise three photographs would wait half a minute for a copy, or ten thousand take twice as long."""
    waits: list[tuple[str, float]] = []

    def waiting(what: str, seconds: float) -> None:
        waits.append((what, seconds))

    assert open_model(small, photographs=WORTH_EXPORTING - 1, waiting=waiting).backend == "pytorch"
    assert waits == [] and not copy_path(small).exists()
    copy_path(small).parent.mkdir(parents=True)
    copy_path(small).write_bytes(b"torn by a crash")
    session = open_model(small, photographs=WORTH_EXPORTING, waiting=waiting)
    assert session.backend == "onnxruntime" and "ONNX copy" in waits[0][0]
    assert len(waits) > 3 and waits[0][1] < 1 < waits[-1][1], "half a minute without movement looks like a hang"
    made, waits[:] = copy_path(small).stat().st_ino, []
    again = open_model(small, waiting=waiting)
    assert again.backend == "onnxruntime" and copy_path(small).stat().st_ino == made and waits == []
    assert (again.info.name, again.info.weights_sha256) == (small.reference, small.weights_sha256)
    assert open_model(small, backend="pytorch", photographs=10**6).backend == "pytorch"
    assert open_model(small, precision="bf16", photographs=10**6).backend == "pytorch"


@pytest.mark.slow
@pytest.mark.usefixtures("made_here")
def test_a_damaged_copy_is_made_anew(small: ModelCard) -> None:
    """Otherwise a crash or a full disk while the copy is written would spoil all later runs."""
    open_model(small, backend="onnx")
    copy = copy_path(small)
    whole = copy.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", whole.replace(b"lightness", b"lightnest")):
        copy.write_bytes(torn)
        assert open_model(small, backend="onnx").backend == "onnxruntime"
        assert len(copy.read_bytes()) == len(whole)


def test_a_copy_belongs_to_one_network_and_one_program(
    small: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the old copy's colours would be used after an update or with other network arguments."""
    path = copy_path(small)
    assert path.name.startswith(small.weights_sha256)
    others = [replace(small, network={"scale": 2.0}), replace(small, weights_sha256="0" * 64)]
    assert path not in [copy_path(other) for other in others]
    module = tmp_path / "site" / "small_network.py"
    module.write_text(module.read_text() + "\n")
    os.utime(module, (time.time() + 5,) * 2)
    assert copy_path(small) != path
    program = shutil.copytree(onnx_copy._PACKAGE, tmp_path / "colorcli", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(onnx_copy, "_PACKAGE", program)
    for changed in ("networks/size.py", "color/bins.py", "export/rewriting.py", "pipeline/controls.py"):
        before = copy_path(small)
        (program / changed).write_text((program / changed).read_text() + "\n")
        assert copy_path(small) != before, changed


def test_copies_that_nobody_uses_go(small: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the cache would grow with every new model and version, for ever."""
    copy = copy_path(small)
    monkeypatch.setattr(onnx_copy, "_export", lambda _, path, *__: path.touch())
    old, used = copy.with_name("old.onnx"), copy.with_name("used.onnx")
    copy.parent.mkdir(parents=True)
    for path in (old, used):
        path.touch()
        os.utime(path, (0, 0))
    onnx_copy.note_use(used)
    onnx_copy.make_copy(small, copy, lambda *_: None, lambda: False)
    assert not old.exists() and used.exists() and copy.exists()


def test_what_prevents_a_copy_is_said(small: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the fallback were not mentioned, nobody would know why the work takes twice as long."""
    monkeypatch.setattr(onnx_copy, "is_installed", lambda package: package != "onnx")
    said: list[str] = []
    assert open_model(small, photographs=10**6, notify=said.append).backend == "pytorch"
    assert len(said) == 1 and "pip install onnx" in said[0]
    with pytest.raises(ModelError, match="pip install onnx"):
        open_model(small, backend="onnx")


@pytest.mark.slow
def test_what_goes_wrong_in_the_exporting_process_is_told_in_its_words(small: ModelCard) -> None:
    """Otherwise the message would only give the process's exit code, and its helpful sentence would be lost."""
    small.weights.write_bytes(small.weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        open_model(small, backend="onnx")


# The exporting process hangs while it writes its file to the disk.
_STUCK = """
import os, signal, sys
if "export" in sys.argv[0]:
    os.fsync = lambda _: signal.pause()
"""


def test_two_programs_make_a_copy_once(small: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an evaluation and a run that begin together would each spend minutes and a gigabyte on the copy."""
    copy, begun, made = copy_path(small), threading.Event(), list[str]()
    go = threading.Event()

    def export(card: ModelCard, path: Path, *_: object) -> None:
        made.append(threading.current_thread().name)
        begun.set()
        assert go.wait(60)
        path.touch()

    monkeypatch.setattr(onnx_copy, "_export", export)
    monkeypatch.setattr(onnx_copy, "is_usable", Path.exists)
    ask = (small, copy, lambda what, seconds: None, lambda: False)
    first = threading.Thread(target=onnx_copy.make_copy, args=ask)
    first.start()
    assert begun.wait(60)
    said = list[str]()

    def waiting(what: str, seconds: float) -> None:
        said.append(what)
        go.set()

    onnx_copy.make_copy(small, copy, waiting, lambda: False)
    first.join()
    assert (len(made), said[:1]) == (1, ["Waiting for another program to make its ONNX copy"])
    copy.unlink()
    with FileLock(copy.parent.with_name("onnx.lock")), pytest.raises(StoppedError):
        onnx_copy.make_copy(small, copy, waiting, lambda: True)


@pytest.mark.slow
def test_an_end_leaves_no_half_of_a_copy(small: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise Ctrl-C could leave a file as large as the model in the cache, which nobody would remove."""
    module = tmp_path / "site" / "small_network.py"
    module.write_text(_STUCK + module.read_text())
    folder = copy_path(small).parent
    with pytest.raises(StoppedError):
        open_model(small, backend="onnx", stopped=lambda: any(folder.glob(".*")))
    assert list(folder.iterdir()) == []

    def stop(*_: object) -> None:
        raise StoppedError("Stopped.")

    monkeypatch.setattr(onnx_copy, "_export", stop)
    with pytest.raises(StoppedError):
        open_model(small, photographs=10**6)


def test_a_cache_that_cannot_be_written_stops_nobody(small: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    said: list[str] = []
    assert open_model(small, photographs=10**6, notify=said.append).backend == "pytorch"
    assert "cannot be written" in said[0]


@pytest.mark.slow
@pytest.mark.usefixtures("made_here")
def test_backends_that_do_not_fit_are_refused(small: ModelCard, tmp_path: Path) -> None:
    open_model(small, backend="onnx")
    shutil.copy(copy_path(small), tmp_path / "small.onnx")
    calls: list[dict[str, Any]] = [
        {"model": small, "backend": "tensorflow"},
        {"model": small, "backend": "onnx", "precision": "fp16"},
        {"model": small, "backend": "onnx", "compile": True},
        {"model": str(tmp_path / "small.onnx"), "backend": "pytorch"},
        {"model": str(tmp_path / "small.onnx"), "compile": True},
    ]
    for call in calls:
        with pytest.raises(UsageError):
            open_model(**call)
    assert open_model(str(tmp_path / "small.onnx")).backend == "onnxruntime"


@pytest.mark.slow
@pytest.mark.usefixtures("made_here")
def test_what_is_to_be_compiled_is_run_by_pytorch(small: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise ONNX Runtime would run the network, and compiling it would take a minute for nothing."""
    open_model(small, backend="onnx")
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    said: list[str] = []
    session = open_model(small, compile=True, photographs=10**6, notify=said.append)
    assert session.backend == "pytorch" and "Compiling" in said[0]
    assert isinstance(session, PyTorchSession) and session.compiled


def test_without_pytorch_only_files_are_run(small: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message must name the solution, one command on another machine, rather than an "unexpected error"."""
    monkeypatch.setattr(onnx_copy, "is_installed", lambda package: package != "torch")
    calls: list[dict[str, Any]] = [{}, {"backend": "pytorch"}, {"compile": True}, {"backend": "onnx"}]
    for call in calls:
        with pytest.raises(ModelError, match="PyTorch is not installed"):
            open_model(small, **call)


@pytest.mark.slow
@pytest.mark.usefixtures("made_here")
def test_nothing_of_cuda_is_loaded_where_there_is_no_gpu(
    small: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise GPU libraries would double the memory needed on a machine without a GPU."""
    open_model(small, backend="onnx")
    shutil.copy(copy_path(small), tmp_path / "small.onnx")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(OnnxSession, "_preload", lambda _: pytest.fail("CUDA's libraries were loaded"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(_PROVIDERS.values()))
    assert open_model(str(tmp_path / "small.onnx")).device == "cpu"
    assert open_model(small, backend="onnx").device == "cpu"
