"""The architecture's rules: imports only point downwards, and heavy packages are only imported when needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import colorcli
from colorcli.pipeline.controls import SEED, declared_settings

from .conftest import ROOT

HEAVY = ("torch", "torchvision", "numba", "scipy", "skimage", "onnxruntime", "PIL", "tifffile", "imagecodecs")


def test_imports_point_downwards_only() -> None:
    """If colour code imported the command line, it could no longer be used or tested on its own."""
    pytest.importorskip("importlinter", reason="part of the extra 'dev'")
    script = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([str(script)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_steers_a_network_is_spelled_where_it_is_declared_and_where_it_is_read() -> None:
    """Otherwise a new control would mean changing two dozen files, and one would be forgotten."""
    names = {
        text
        for one, setting in declared_settings()
        if setting is not SEED  # training and statistics have seeds too
        for text in (one.name, setting.name, setting.option, setting.keyword)
    }
    package = Path(colorcli.__file__).parent
    spelled = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    }
    read = {"networks/bigcolor.py", "networks/biggan_encoder.py", "networks/siggraph17.py", "pipeline/reference.py"}
    # A model's card has a reference too: its name and version.
    assert spelled - {"cli/models.py"} == {"pipeline/controls.py", *read}


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["colorize", "--help"], ["evaluate", "--help"], ["models", "list"]]
)
def test_answering_a_question_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """Otherwise help pages and every tab completion would take two seconds to import torch."""
    code = (
        "import sys\nfrom colorcli.cli import main\n"
        f"code = main({arguments!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    """Both ``colorcli.__version__`` and ``colorcli.load`` are at the top; only calling ``load`` may take time."""
    code = (
        "import sys, colorcli\n"
        "assert colorcli.__version__ and not set(sys.modules) & {'torch', 'numpy', 'typer'}, sorted(sys.modules)\n"
        "assert callable(colorcli.load)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    "way", ["import colorcli; colorcli.load", "import colorcli.cli; colorcli.cli.main(['--version'])"]
)
@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_waiting_threads_sleep_before_pytorch_is_loaded(way: str, chosen: str | None) -> None:
    """Beside another program, eager PyTorch on two CPUs took 1586 ms of CPU time for a photograph instead of 221."""
    code = f"{way}; import os, sys; assert 'torch' not in sys.modules; sys.exit(os.environ['OMP_WAIT_POLICY'])"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if chosen is None else {"OMP_WAIT_POLICY": chosen}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert result.stderr.strip().endswith(chosen or "PASSIVE")
