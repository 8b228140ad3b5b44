"""The documentation is part of the package, its links have targets, and its commands exist and work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from filelock import FileLock
from PIL import Image

from colorcli import environment
from colorcli.cli import CLOSED_PIPE, main
from colorcli.cli.app import app
from colorcli.cli.docs import PAGES, page_path
from colorcli.errors import ExitCode
from colorcli.images.samples import SAMPLES

from ..conftest import ROOT
from ..processes import run_here
from ..report.conftest import page_data, picks_of
from .conftest import Run

TEXTS = {page: page_path(page).read_text(encoding="utf-8") for page in PAGES}
# Commands that cannot be run here, and why.
NOT_RUN = {
    ("colorize", "--engine", "ray"): "needs Ray, which tests/colorize/test_ray.py runs",
    ("models", "pull"): "uses the network",
    ("models", "import"): "needs the released files",
    ("evaluate", "./photos"): "needs photographs in colour",
    ("evaluate", "theirs"): "needs another tool's colourings",
    ("train",): "needs photographs and hours",
    ("watch",): "ends with Ctrl-C; see tests/colorize/test_watch.py",
    ("colorize", "./old_photos", "--model", "ddcolor"): "needs downloaded weights",
    ("colorize", "s3://archive/scans"): "needs a bucket; see tests/colorize/test_s3.py",
    ("status", "s3://archive/coloured"): "needs a bucket; see tests/colorize/test_outbox.py",
    ("verify", "s3://archive/coloured"): "needs a bucket; see tests/colorize/test_outbox.py",
}
# Takes half a minute, so that the fixture ``exported`` runs it once.
EXPORT = ["export", "bigcolor", "-o", "bigcolor.onnx"]


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[page], re.MULTILINE | re.DOTALL)


def _commands() -> list[list[str]]:
    """The arguments of every ``colorcli`` in the pages' shell blocks, each once."""
    # The commands of the contributors' page depend on one another; tests/test_plugin.py runs them.
    blocks = [block for page in PAGES if page != "contributing" for block in _blocks(page, "sh")]
    lines = [part for block in blocks for line in block.splitlines() for part in line.split("&&")]
    words = [shlex.split(line.split(" > ")[0], comments=True) for line in lines]
    commands = [tuple(line[1:]) for line in words if line and Path(line[0]).name == "colorcli"]
    return [list(command) for command in dict.fromkeys(commands)]


def _runs(arguments: list[str]) -> bool:
    if "--list" in arguments:
        return True
    return "runs/mine" not in arguments and all(arguments[: len(start)] != list(start) for start in NOT_RUN)


def _resolve(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that the arguments name, and the arguments that remain for it."""
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}: {arguments}"
        command = command.commands[name]
    return command, rest


def test_the_pages_show_every_command() -> None:
    """A command that no page mentions is never found."""
    root: Any = typer.main.get_command(app)
    groups = {name: command.commands for name, command in root.commands.items() if hasattr(command, "commands")}
    all_of_them: set[tuple[str, ...]] = {(name,) for name in root.commands if name not in groups}
    all_of_them |= {(group, name) for group, commands in groups.items() for name in commands}
    shown = {tuple(arguments[: 2 if arguments[0] in groups else 1]) for arguments in _commands()}
    assert all_of_them - shown == set()


@pytest.mark.parametrize("arguments", _commands(), ids=" ".join)
def test_the_options_that_the_pages_use_exist(arguments: list[str]) -> None:
    """A command pasted from a page must not fail with "no such option"."""
    command, rest = _resolve(arguments)
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    used = [word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    assert [option for option in used if option not in known] == []


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: the samples, reduced, and the outputs of the commands that come earlier on the page."""
    folder = tmp_path_factory.mktemp("reader")
    for sample in SAMPLES:
        path = folder / "old_photos" / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((64, 48)).save(path)
    for output in ("old_photos_colorized", "coloured", "nightly"):
        assert main(["colorize", str(folder / "old_photos"), "-o", str(folder / output), "-q"]) == 0
    bag = ["--bag", str(folder / "coloured_bag"), "-q"]
    assert main(["colorize", str(folder / "old_photos"), "-o", str(folder / "coloured"), *bag]) == 0
    for index, output in enumerate(("east", "west"), 1):
        shard = f"{index}/2"
        assert main(["colorize", str(folder / "old_photos"), "-o", str(folder / output), "--shard", shard, "-q"]) == 0
    four = folder / "four"
    assert main(["colorize", str(folder / "old_photos"), "-o", str(four), "--samples", "4", "--report", "-q"]) == 0
    chosen = {photo["name"]: 1 for photo in page_data(four / "report.html")["photos"]}
    (folder / "picks.json").write_text(json.dumps(picks_of(four / "report.html", chosen)))
    shutil.rmtree(four)
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file that the page's export makes and other commands need; all workers of a test run share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / EXPORT[-1]
    with FileLock(f"{path}.lock"):
        if not path.exists():
            result = run_here(folder, *EXPORT)
            assert result.returncode == 0, result.stderr
    return path


Prepare = Callable[[list[str]], None]


@pytest.fixture
def prepare(reader: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Prepare:
    """Copy the files that a command needs into ``tmp_path``."""

    def put(arguments: list[str]) -> None:
        shutil.copytree(reader, tmp_path, dirs_exist_ok=True)
        if EXPORT[-1] in arguments:
            shutil.copy(request.getfixturevalue("exported"), tmp_path)

    return put


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [words for words in _commands() if _runs(words)], ids=" ".join)
def test_the_commands_work(run: Run, prepare: Prepare, arguments: list[str], tmp_path: Path) -> None:
    """A command pasted from a page succeeds."""
    prepare(arguments)
    if arguments == EXPORT:
        assert (tmp_path / EXPORT[-1]).is_file()
        return
    listed = "old_photos/cat.png\n" if arguments[:2] == ["colorize", "-"] else ""
    result = run(*arguments, stdin=listed)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_python_of_the_readme_works(tmp_path: Path, prepare: Prepare) -> None:
    prepare([])
    (script,) = _blocks("readme", "python")
    (tmp_path / "script.py").write_text(script + "\nassert rgb.ndim == 3 and rgb.std() > 0\n")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)


def test_the_exit_codes_in_the_docs_are_the_programs() -> None:
    table = TEXTS["settings"].split("## Exit codes")[1].split("## ")[0]
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    assert documented == {*map(int, ExitCode), CLOSED_PIPE}


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(TEXTS["readme"].splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """At a dead link, a newcomer gives up."""
    files = {file: page_path(name) for name, (file, _) in PAGES.items()}
    place = Path(PAGES[page][0]).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        relative = os.path.normpath(place / file) if file else PAGES[page][0]
        found = files.get(relative, ROOT / relative)
        if relative.startswith("models/"):
            found = environment.bundled_models_dir() / relative.removeprefix("models/")
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_docs_lists_and_prints_every_page(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine without a network, users have only the pages in the wheel."""
    listed = run("docs").stdout
    for page in PAGES:
        assert page in listed
        assert main(["docs", page]) == 0
        assert capsys.readouterr().out.rstrip("\n") == TEXTS[page].rstrip("\n")
    assert main(["docs", "nowhere"]) == ExitCode.USAGE
    assert "readme" in capsys.readouterr().err
