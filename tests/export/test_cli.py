"""Exporting, and colouring with the exported file, from the command line, with and without PyTorch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorcli.cli.docs import page_path
from colorcli.errors import ExitCode
from colorcli.images.samples import color_photographs
from colorcli.registry.card import ModelCard
from colorcli.requirements import NOT_NEEDED, without_torch

from ..conftest import ROOT
from ..processes import await_word, run_here

pytestmark = pytest.mark.slow

# Imports of other packages than those in the printed list fail, as if only these were installed.
_BLOCKED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background may have inherited ignored
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from colorcli.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _start(folder: Path, *arguments: str, blocked: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    paths = os.pathsep.join(filter(None, (str(folder / "site"), os.environ.get("PYTHONPATH"))))
    own = {"PYTHONPATH": paths, "COLORCLI_DATA_DIR": str(folder / "data"), "COLORCLI_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", _BLOCKED.format(blocked=set(blocked)), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=pipe, stderr=pipe, text=True)


def _run(folder: Path, *arguments: str, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    if not blocked:
        return run_here(folder, *arguments, COLORCLI_CACHE_DIR=str(folder / "cache"))
    with _start(folder, *arguments, blocked=blocked) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder of three gray photographs."""
    folder = tmp_path / "old"
    folder.mkdir()
    for name, content in list(color_photographs().items())[:3]:
        (tmp_path / name).write_bytes(content)
        Image.open(tmp_path / name).convert("L").reduce(4).save(folder / f"{Path(name).stem}.png")
    return folder


def _pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))}


def test_a_file_colours_without_pytorch(small: ModelCard, tmp_path: Path, old: Path) -> None:
    """PyTorch may be too large or not permitted on the machine beside the scanner; the colours must be the same."""
    made = _run(tmp_path, "export", str(small.folder), "-o", "small.onnx", "--json")
    assert made.returncode == 0, made.stderr
    (event,) = (json.loads(line) for line in made.stdout.splitlines())
    assert event["event"] == "export.done" and event["maximum"] < 0.1
    # All requirements that the printed list omits, and their own requirements.
    blocked = (*NOT_NEEDED, "onnx_ir", "torchaudio", "timm", "accelerate")
    bare = _run(tmp_path, "colorize", "--model", "small.onnx", "old", "-o", "bare", blocked=blocked)
    assert bare.returncode == 0, bare.stderr
    full = _run(tmp_path, "colorize", "--model", str(small.folder), "old", "-o", "full", "--backend", "pytorch")
    assert full.returncode == 0, full.stderr
    ours, theirs = _pixels(tmp_path / "bare"), _pixels(tmp_path / "full")
    assert len(ours) == 3 and ours.keys() == theirs.keys()
    for name, pixels in ours.items():
        assert pixels.std(axis=2).max() > 1, "gray outputs would be equal whatever the model"
        assert np.abs(pixels - theirs[name]).max() <= 1
    # Operations that need PyTorch are refused with a sentence.
    refused = _run(tmp_path, "colorize", "--model", str(small.folder), "old", "-o", "no", blocked=blocked)
    assert refused.returncode == ExitCode.MODEL and "PyTorch is not installed" in refused.stderr


def test_another_backend_continues_a_run(small: ModelCard, tmp_path: Path, old: Path) -> None:
    """Otherwise a run begun with PyTorch would start again as soon as the ONNX copy exists."""
    model = ("--model", str(small.folder), "old", "-o", "out")
    begun = _run(tmp_path, "colorize", *model, "--backend", "pytorch", "--limit", "2")
    assert begun.returncode == 0 and "(PyTorch)" in begun.stderr, begun.stderr
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    ended = _run(tmp_path, "colorize", *model, "--backend", "onnx")
    assert ended.returncode == 0 and "1 coloured, 2 done already" in ended.stderr, ended.stderr
    assert all((tmp_path / "out" / name).read_bytes() == content for name, content in before.items())
    journal = next((tmp_path / "out").glob(".colorcli/*.jsonl")).read_text().splitlines()
    starts = [record for line in journal if (record := json.loads(line))["event"] == "run.start"]
    assert [record["backend"] for record in starts] == ["pytorch", "onnxruntime"]
    assert [record["precision"] for record in starts] == ["fp32", "fp32"]


# The exporting process writes its process id, and then waits for a signal.
_ENDLESS = """
import os, pathlib, signal, sys

if "export" in sys.argv[0]:
    pathlib.Path({mark!r}).write_text(str(os.getpid()))
    signal.pause()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (("colorize", "old", "-o", "out", "--samples", "50", "--model"), signal.SIGINT, ExitCode.INTERRUPTED),
        (("colorize", "old", "-o", "out", "--samples", "50", "--model"), signal.SIGTERM, ExitCode.TERMINATED),
        (("evaluate", "--backend", "onnx", "--models"), signal.SIGINT, ExitCode.INTERRUPTED),
    ],
)
def test_an_end_asked_for_while_a_copy_is_made_comes_at_once(
    small: ModelCard, tmp_path: Path, old: Path, arguments: tuple[str, ...], number: int, code: ExitCode
) -> None:
    """Otherwise nothing would happen for half a minute after Ctrl-C, or the exporting process would be left running."""
    mark, module = tmp_path / "mark", tmp_path / "site" / "small_network.py"
    os.mkfifo(mark)
    module.write_text(_ENDLESS.format(mark=str(mark)) + module.read_text())
    with _start(tmp_path, *arguments, str(small.folder)) as process:
        try:
            exporter = int(await_word(mark))
            process.send_signal(number)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == code, err
    assert "Using PyTorch" not in err and "Traceback" not in err
    assert list((tmp_path / "cache" / "onnx").iterdir()) == []
    assert not (tmp_path / "out" / ".colorcli" / "lock").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(exporter, 0)


def test_an_exported_file_is_scored_like_its_model(small: ModelCard, tmp_path: Path) -> None:
    """People need the scores of the file that they run, beside the network's own."""
    assert _run(tmp_path, "export", str(small.folder), "-o", "small.onnx", "-q").returncode == 0
    names = f"small.onnx,{small.folder}"
    result = _run(tmp_path, "evaluate", "--models", names, "--metrics", "psnr", "--json", "--backend", "auto")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    models = {row["name"]: row for row in rows if row["event"] == "evaluate.model" and row.get("backend")}
    ours, theirs = models["small.onnx"], models[str(small.folder)]
    assert (ours["backend"], theirs["backend"]) == ("onnxruntime", "pytorch")
    assert ours["parameters"] == theirs["parameters"] and ours["multiply_adds"] == theirs["multiply_adds"]
    assert abs(ours["summary"]["psnr"]["mean"] - theirs["summary"]["psnr"]["mean"]) < 0.01


def test_the_list_without_pytorch_is_the_packages_own() -> None:
    """Otherwise a new requirement of colouring could be missing from the list that people install from."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    kept = without_torch(declared)
    dropped = [line for line in declared if line not in kept]
    assert sorted(line.split(">")[0] for line in dropped) == sorted(NOT_NEEDED)
    assert without_torch(["numpy>=2.0", 'pytest; extra == "test"', "torch"]) == ["numpy>=2.0"]
    assert "python -m colorcli.requirements" in page_path("export").read_text(encoding="utf-8")
