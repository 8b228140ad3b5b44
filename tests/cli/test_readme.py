"""The README's commands exist, are accepted, and work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from colorcli.cli import CLOSED_PIPE
from colorcli.cli.app import app
from colorcli.errors import ExitCode

from .conftest import ROOT, Run

README = (ROOT / "README.md").read_text(encoding="utf-8")
# What cannot run here, and why.
NOT_RUN = {
    ("models", "pull"): "uses the network",
    ("models", "import"): "needs the released files",
    ("evaluate", "./photos"): "needs photographs in colour",
    ("evaluate", "theirs"): "needs another tool's colourings",
    ("train",): "needs photographs and hours",
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[list[str]]:
    """The arguments of every ``colorcli`` in the README's shell blocks."""
    lines = [part for block in _blocks("sh") for line in block.splitlines() for part in line.split("&&")]
    words = [shlex.split(line.split(" > ")[0], comments=True) for line in lines]
    return [line[1:] for line in words if line and Path(line[0]).name == "colorcli"]


def _resolve(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that the arguments name, and what remains for it."""
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}: {arguments}"
        command = command.commands[name]
    return command, rest


def test_the_readme_shows_every_command() -> None:
    """A command nobody can find might as well not exist."""
    root: Any = typer.main.get_command(app)
    groups = {name: command.commands for name, command in root.commands.items() if hasattr(command, "commands")}
    all_of_them = {(name,) for name in root.commands if name not in groups}
    all_of_them |= {(group, name) for group, commands in groups.items() for name in commands}
    shown = {tuple(arguments[: 2 if arguments[0] in groups else 1]) for arguments in _commands()}
    assert all_of_them - shown == set()


@pytest.mark.parametrize("arguments", _commands(), ids=" ".join)
def test_the_options_in_the_readme_exist(arguments: list[str]) -> None:
    """A pasted line must not end in "no such option"."""
    command, rest = _resolve(arguments)
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    used = [word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    assert [option for option in used if option not in known] == []


def test_the_readmes_commands_and_python_work(run: Run, tmp_path: Path) -> None:
    """From top to bottom, in one folder, as a reader would paste them."""
    ran = 0
    for arguments in _commands():
        if any(arguments[: len(start)] == list(start) for start in NOT_RUN) and "--list" not in arguments:
            continue
        if "runs/mine" in arguments:
            continue
        result = run(*arguments)
        assert result.returncode == 0, (arguments, result.stderr)
        ran += 1
    assert ran >= 12
    (script,) = _blocks("python")
    (tmp_path / "script.py").write_text(script + "\nassert rgb.ndim == 3 and rgb.std() > 0\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, env=environment)


def test_the_exit_codes_in_the_readme_are_the_programs() -> None:
    table = README.split("## Exit codes")[1].split("## ")[0]
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    assert documented == {*map(int, ExitCode), CLOSED_PIPE}
