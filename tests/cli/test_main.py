"""The program as a whole: errors, exit codes, signals, settings, and what is written to stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

import colorcli.cli
from colorcli import errors
from colorcli.cli import app as app_module
from colorcli.cli import output
from colorcli.cli.command import Command
from colorcli.train.recipe import SHELF

from .conftest import Run


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the program consist of one command, ``do``; register its function."""
    app = typer.Typer()
    app.callback()(lambda: None)
    monkeypatch.setattr(app_module, "app", app)
    return app.command("do", cls=Command)


def test_version(program: Run) -> None:
    result = program("--version")
    assert (result.returncode, result.stdout) == (0, f"colorcli {colorcli.__version__}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.PhotoError("x"), 3),
        (errors.NothingToDoError("x"), 5),
        (errors.ModelError("x"), 6),
        (errors.DeviceError("x"), 7),
        (MemoryError("x"), 7),
        (errors.OutputError("x"), 8),
        (errors.VerificationError("x"), 9),
        (KeyboardInterrupt(), 130),
        (typer.Exit(4), 4),
        (typer.BadParameter("x"), 2),
    ],
)
def test_every_error_has_its_exit_code_and_one_sentence(
    command: Any, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    """Scripts branch on the code; people read one line, never a traceback."""

    @command
    def do() -> None:
        raise error

    assert colorcli.cli.main(["do"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if isinstance(error, errors.ColorcliError):
        assert err == "Error: x\n"


def test_an_unexpected_error_is_one_line_and_a_hint(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Users can quote the line in a report; the hint says how to get more detail."""

    @command
    def do() -> None:
        raise ZeroDivisionError("first\nsecond")

    assert colorcli.cli.main(["do"]) == 1
    assert (
        capsys.readouterr().err == "Error: Unexpected ZeroDivisionError: first (run again with --debug to see where)\n"
    )


@pytest.mark.parametrize("arguments", [["do", "--debug"], ["do"]])
def test_debug_shows_where(
    command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    @command
    def do() -> None:
        raise errors.ModelError("x")

    monkeypatch.setenv("COLORCLI_DEBUG", "1" if len(arguments) == 1 else "0")
    assert colorcli.cli.main(arguments) == 6
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("Error: x\n")


def test_an_argument_after_two_dashes_is_not_an_option(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder may be called ``--debug``."""

    @command
    def do(name: str) -> None:
        output.line(name)

    assert colorcli.cli.main(["do", "--", "--debug"]) == 0
    assert capsys.readouterr().out == "--debug\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["models", "list", "--jsn"], "--json"),
        (["modls"], "models"),
        (["models", "lst"], "list"),
        (["models", "show"], "colorcli models show --help"),
        (["samples"], "colorcli samples --help"),
    ],
)
def test_usage_errors_are_2_and_helpful(run: Run, arguments: list[str], hint: str) -> None:
    """If unknown options were ignored, eighty thousand photographs could be coloured with the default."""
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert hint in result.stderr


def test_help_shows_defaults_that_a_command_chooses_itself(run: Run) -> None:
    """People look up the defaults first."""
    assert "[default: 0.8]" in run("colorize", "--help").stdout


def test_without_a_command_the_help_is_shown(program: Run) -> None:
    result = program()
    assert result.returncode == 2
    assert "samples" in result.stdout + result.stderr
    assert "Error" not in result.stderr


def test_what_libraries_print_does_not_reach_the_data(run: Run, tmp_path: Path) -> None:
    """A single line printed by a library would break every program that reads the JSON."""
    (tmp_path / "chatty.py").write_text(
        "import os, sys, typer\n"
        "import colorcli.cli\n"
        "from colorcli.cli import app as module, output\n"
        "from colorcli.cli.command import Command\n"
        "app = typer.Typer(); app.callback()(lambda: None); module.app = app\n"
        "@app.command('do', cls=Command)\n"
        "def do():\n"
        "    output.emit('a', number=1)\n"
        "    print('printed in Python')\n"
        "    os.write(1, b'written in C\\n')\n"
        "    os.system('echo said by a child')\n"
        "    output.emit('b', name='\\udcff')\n"
        "code = colorcli.cli.main(['do'])\n"
        "print('after')\n"
        "sys.exit(code)\n"
    )
    result = subprocess.run(
        [sys.executable, str(tmp_path / "chatty.py")],
        capture_output=True,
        text=True,
    )
    *events, last = result.stdout.splitlines()
    assert [json.loads(event) for event in events] == [
        {"v": 1, "event": "a", "number": 1},
        {"v": 1, "event": "b", "name": "\udcff"},
    ]
    assert last == "after"
    for noise in ("printed in Python", "written in C", "said by a child"):
        assert noise in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["samples s --json", "--help", "docs readme"])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, arguments: str) -> None:
    """People pipe the output into ``head``."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "colorcli", *arguments.split()],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert process.returncode == 141
    assert "rror" not in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "code"), [(">&- 2>&-", 0), ("<&- >&- 2>&-", 0), (">&-", 0), ("> /dev/full", 8), ("2> /dev/full", 0)]
)
def test_streams_that_are_closed_or_full(tmp_path: Path, streams: str, code: int) -> None:
    """Service managers start programs without streams: no file opened later may become stdout, and the run goes on."""
    if "full" in streams and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    process = subprocess.run(
        ["sh", "-c", f'exec "$0" -m colorcli samples s --json {streams}', sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == code
    assert code == 0 or process.stderr.strip().endswith("disk is full.")
    for path in (tmp_path / "s").rglob("*.*"):
        assert b'"v": 1' not in path.read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_unwind_and_have_their_codes(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """After SIGTERM or SIGINT, temporary files are removed, and the exit code tells which signal it was."""
    (tmp_path / "slow.py").write_text(
        "import signal, sys, typer\n"
        # A shell without job control hands its background jobs a SIGINT that is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import colorcli.cli\n"
        "from colorcli.cli import app as module, output\n"
        "from colorcli.cli.command import Command\n"
        "app = typer.Typer(); app.callback()(lambda: None); module.app = app\n"
        "@app.command('do', cls=Command)\n"
        "def do():\n"
        "    try:\n"
        "        output.line('ready'); signal.pause()\n"
        "    finally:\n"
        "        output.line('unwound')\n"
        "sys.exit(colorcli.cli.main(['do']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "slow.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "unwound\n", "")


def test_a_program_that_calls_main_keeps_its_own_signals() -> None:
    """A Python program that calls the command line can still be terminated afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    assert colorcli.cli.main(["--version"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_settings_rank_flag_environment_file(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The order is documented; if the file took precedence over flags, no flag could change its values."""

    @command
    def do(sigma: float = 0.8, some_names: Annotated[list[str] | None, typer.Option("--name")] = None) -> None:
        output.line(f"{sigma} {','.join(some_names or [])}")

    monkeypatch.chdir(tmp_path)
    colorcli.cli.main(["do"])
    (tmp_path / "colorcli.toml").write_text('[do]\nsigma = 2\nname = ["a", "b"]\n')
    colorcli.cli.main(["do"])
    monkeypatch.setenv("COLORCLI_DO_SIGMA", "3")
    monkeypatch.setenv("COLORCLI_DO_NAME", "e f")
    app_module.app.info.context_settings = {"auto_envvar_prefix": "COLORCLI"}
    colorcli.cli.main(["do"])
    colorcli.cli.main(["do", "--sigma", "4", "--name", "c"])
    assert capsys.readouterr().out.splitlines() == ["0.8 ", "2.0 a,b", "3.0 e,f", "4.0 c"]


def test_the_environment_sets_options(run: Run) -> None:
    result = run("doctor", COLORCLI_DOCTOR_JSON="1", COLORCLI_VERSION="1")
    assert json.loads(result.stdout)["event"] == "doctor"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[samples]\njsn = true\n", "samples.jsn"),
        ("[sample]\n", "sample"),
        ("samples = 3\n", "should be a table"),
        ("[samples\n", "cannot be read"),
        (
            "[colorize]\nsigma = 'high'\n",
            "colorcli.toml: 'colorize.sigma' must be a number from 0 to 100, not \"high\".",
        ),
        ("[colorize]\nsamples = true\n", "'colorize.samples' must be a whole number of at least 1, not true."),
        ("[colorize]\noverwrite = 1\n", "'colorize.overwrite' must be true or false, not 1."),
        ("[colorize]\noutput = 7\n", "'colorize.output' must be text, not 7."),
        ("[colorize]\ninclude = '*.tif'\n", "'colorize.include' must be a list of text, not \"*.tif\"."),
    ],
)
def test_a_settings_file_with_a_mistake_is_refused(run: Run, tmp_path: Path, text: str, fault: str) -> None:
    """If a misspelt setting were ignored, the run would use the wrong value."""
    (tmp_path / "colorcli.toml").write_text(text)
    result = run("samples", "s")
    assert result.returncode == 2
    assert fault in result.stderr
    assert not (tmp_path / "s").exists()
    assert run("samples", "s", COLORCLI_CONFIG="nowhere.toml").returncode == 2


@pytest.mark.parametrize("place", ["COLORCLI_COLORIZE_QUALITY", "colorcli.toml"])
def test_a_bad_value_names_where_it_stands(run: Run, tmp_path: Path, place: str) -> None:
    """Users who did not type --quality must learn where the value comes from, and what would be right."""
    if place == "colorcli.toml":
        (tmp_path / place).write_text("[colorize]\nquality = 200\n")
        result = run("colorize", ".")
    else:
        result = run("colorize", ".", **{place: "high"})
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: --quality from {place} must be a whole number from 1 to 100, not ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["colorize", ".", "--sigma", "high"], '--sigma must be a number from 0 to 100, not "high".'),
        (["colorize", ".", "--limit", "0"], '--limit must be a whole number of at least 1, not "0".'),
        (["colorize", ".", "--engine", "dask"], '--engine must be one of local, ray, not "dask".'),
    ],
)
def test_a_bad_value_is_told_what_it_must_be(run: Run, arguments: list[str], sentence: str) -> None:
    """The library's own words name its types: "Input should be a valid number, unable to parse string"."""
    result = run(*arguments)
    assert (result.returncode, result.stderr.splitlines()[0]) == (2, f"Error: {sentence}")


def test_settings_behind_a_mistake_are_named(run: Run, tmp_path: Path) -> None:
    """Errors that only the command itself detects name the source of the value too."""
    (tmp_path / "colorcli.toml").write_text('[colorize]\nmodel = "nobody"\n')
    result = run("colorize", ".", COLORCLI_COLORIZE_DEVICE="gpu")
    assert result.returncode == 6
    assert "--model from colorcli.toml, --device from COLORCLI_COLORIZE_DEVICE" in result.stderr
    assert "from" not in run("colorize", ".", "--model", "nobody", COLORCLI_CONFIG=os.devnull).stderr


def test_a_misspelt_variable_is_told(run: Run) -> None:
    """Otherwise it would be ignored silently, and eighty thousand photographs coloured with the default."""
    misspelt = {"COLORCLI_SAMPLES_JSN": "1", "COLORCLI_OFLINE": "1", "COLORCLI_SAMPLES_WIDTH": "3"}
    result = run("samples", "s", COLORCLI_VERSION="1", COLORCLI_DOCTOR_JSON="1", **misspelt)
    assert result.returncode == 0
    assert "COLORCLI_SAMPLES_JSN has no effect; did you mean COLORCLI_SAMPLES_JSON?" in result.stderr
    assert "COLORCLI_OFLINE has no effect; did you mean COLORCLI_OFFLINE?" in result.stderr
    assert "COLORCLI_SAMPLES_WIDTH has no effect: the command has no such option" in result.stderr
    assert "COLORCLI_VERSION" not in result.stderr
    assert "COLORCLI_DOCTOR_JSON" not in result.stderr


def test_init_writes_settings_that_are_read(run: Run, tmp_path: Path) -> None:
    """The written settings file must still be accepted once its comment signs are removed."""
    assert run("init").returncode == 0
    path = tmp_path / "colorcli.toml"
    text = path.read_text()
    assert tomllib.loads(text)["colorize"] == {}
    path.write_text("\n".join(line.removeprefix("# ") for line in text.splitlines() if not line.endswith("=")))
    settings = tomllib.loads(path.read_text())
    assert settings["colorize"]["sigma"] == 0.8
    assert settings["evaluate"]["samples"] == 10
    assert settings["models"]["list"] == {"all": False, "json": False}
    again = run("init")
    assert (again.returncode, "--overwrite" in again.stderr) == (8, True)
    assert run("init", "--overwrite").returncode == 0
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "bigcolr"], "did you mean bigcolor-lite"),
        (["train", "foo"], "colorcli train --list"),
        (["train", "bigcolor-lite"], "--data FOLDER"),
        (["evaluate", "--metrics", "lpips"], "did you mean lpips-vgg or lpips-alex"),
    ],
)
def test_what_does_not_exist_leads_to_what_does(run: Run, arguments: list[str], hint: str) -> None:
    result = run(*arguments)
    assert (result.returncode, hint in result.stderr) == (2, True)


def test_the_whole_help_can_be_read_at_once(run: Run) -> None:
    """Otherwise a reader would have to call twenty commands with --help."""
    result = run("help", "--all")
    assert result.returncode == 0
    for path in ("colorcli colorize", "colorcli models pull", "colorcli train"):
        assert f"Usage: {path} " in result.stdout
    page = run("help", "colorize", COLUMNS="80").stdout
    # Names of Python types left no room for what options mean.
    assert "--sigma" in page and not {"<bool>", "<str>"} & {*page.split()}
    described = [line for line in page.splitlines() if "--class " in line]
    assert len(described) == 1 and "ImageNet class by name" in described[0]
    assert page.index("Which photographs") < page.index("--include") < page.index("Proof") < page.index("--manifest")
    unknown = run("help", "colorise")
    assert (unknown.returncode, "did you mean colorize" in unknown.stderr) == (2, True)


def test_recipes_are_listed_with_a_line_on_each(run: Run) -> None:
    """Seventy bare names would not help anyone choose; scripts read the first word of each line."""
    lines = run("train", "--list").stdout.splitlines()
    assert {line.split()[0] for line in lines} == set(SHELF.names())
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(("variable", "colored"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
def test_colors_follow_the_environment(program: Run, variable: str, colored: bool) -> None:
    """Otherwise log files would contain escape codes, or log viewers lack colours."""
    environment = {"NO_COLOR": "", "FORCE_COLOR": "", variable: "1", "TERM": "xterm"}
    result = program("--help", **environment)
    assert ("\x1b[" in result.stdout) is colored
