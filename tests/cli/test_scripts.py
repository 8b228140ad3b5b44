"""The documentation's scripts, copied from the page and run with a stand-in for the network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from colorcli.cli.docs import page_path

from ..colorize.conftest import write_gray
from ..colorize.test_resume import DRIVER

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these are scripts of Unix shells")

_PAGE = page_path("scripts").read_text(encoding="utf-8")


def _block(language: str, part: str) -> str:
    """The only block of the page that contains ``part``."""
    (block,) = (text for text in re.findall(rf"^```{language}\n(.*?)^```", _PAGE, re.M | re.S) if part in text)
    return str(block)


def _program(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``colorcli`` is the program with a stand-in for the network."""
    start = f'#!/bin/sh\nexec "{sys.executable}" -c "{DRIVER}" 0 no "$@"\n'
    _program(tmp_path / "bin", "colorcli", start)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("COLORCLI_")},
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "COLORCLI_CONFIG": os.devnull,
    }


@pytest.mark.parametrize("part", ["nightly.sh", "srun", "@tsv"])
def test_the_shell_can_read_the_scripts(part: str) -> None:
    """With a quote missing, the cron job of everyone who pasted the script would fail at night."""
    script = _block("bash", part)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    if script.startswith("#!/bin/sh"):
        subprocess.run([shutil.which("dash") or "sh", "-n"], input=script, text=True, check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_nightly_script_says_what_a_person_should_look_at(tmp_path: Path, shell: dict[str, str]) -> None:
    """Cron mails every output: nothing may be printed after a good night, and a reason must be after a bad one."""
    _program(tmp_path, "nightly.sh", _block("bash", "nightly.sh"))

    def night() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./nightly.sh", "in", "out"], cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=300
        )

    (tmp_path / "in").mkdir()
    nothing = night()
    assert (nothing.returncode, nothing.stdout) == (5, "There are no photographs in in.\n")
    write_gray(tmp_path / "in" / "a.png")
    for _ in range(2):
        well = night()
        assert (well.returncode, well.stdout) == (0, ""), well.stderr
    (tmp_path / "in" / "torn.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:200])
    torn = night()
    assert torn.returncode == 3
    assert re.fullmatch(r"Some photographs were not coloured:\ntorn\.png: .+\n", torn.stdout)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_questions_to_jq_have_answers(tmp_path: Path, shell: dict[str, str]) -> None:
    """If a field were renamed, the commands would silently print nothing or null."""
    write_gray(tmp_path / "in" / "a.png")
    write_gray(tmp_path / "in" / "stands.png")
    write_gray(tmp_path / "out" / "stands.png")
    (tmp_path / "in" / "torn.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:200])
    with (tmp_path / "events.jsonl").open("w") as events:
        subprocess.run(
            ["colorcli", "colorize", "in", "-o", "out", "-q", "--json"], cwd=tmp_path, env=shell, stdout=events
        )
    asked = [line for line in _block("bash", "@tsv").splitlines() if line.startswith("jq ")]
    failed, skipped, slowest, end = (
        subprocess.run(line, shell=True, cwd=tmp_path, env=shell, capture_output=True, text=True, check=True).stdout
        for line in asked
    )
    assert failed.startswith("torn.png\t")
    assert skipped == "1 unknown\n"
    assert re.fullmatch(r"\d\S*\ta\.png\n", slowest)
    assert {**json.loads(end), "seconds": 0} == {
        "done": 1, "already_done": 0, "skipped": 1, "failed": 1, "seconds": 0,
    }  # fmt: skip


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_slurm_job_is_queued_again_when_its_time_is_up(tmp_path: Path, shell: dict[str, str], code: int) -> None:
    """It is only then: otherwise a job that failed would be queued forever."""
    _program(tmp_path, "colour.sh", _block("bash", "srun"))
    _program(tmp_path / "bin", "colorcli", f'#!/bin/sh\necho "{{}}"; exit {code}\n')
    _program(tmp_path / "bin", "srun", '#!/bin/sh\nexec "$@"\n')
    _program(tmp_path / "bin", "scontrol", '#!/bin/sh\necho "$@" >> scontrol.txt\n')
    result = subprocess.run(["./colour.sh", "in", "out"], cwd=tmp_path, env={**shell, "SLURM_JOB_ID": "17"})
    assert result.returncode == code
    asked = tmp_path / "scontrol.txt"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 17\n" if code == 130 else "")
    assert (tmp_path / "colorize-17.jsonl").read_text() == "{}\n"


def test_the_service_ends_a_watch_as_a_person_does() -> None:
    """Otherwise systemd would report a regular stop as a failure, or kill a watch that still has work to finish."""
    unit = dict(line.split("=", 1) for line in _block("ini", "[Service]").splitlines() if "=" in line)
    assert unit["KillSignal"] == "SIGINT" and unit["SuccessExitStatus"] == "3 4"
    assert unit["ExecStart"].split()[1:3] == ["watch", "/scans/incoming"]
