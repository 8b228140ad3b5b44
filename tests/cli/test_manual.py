"""The manual as man pages."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from .conftest import Run


def test_the_page_has_every_option_of_every_command(run: Run) -> None:
    """On clusters, people use man rather than a browser, and must not miss an option there."""
    page = run("help", "--man")
    assert page.returncode == 0 and page.stderr == ""
    assert page.stdout.isascii()
    text = page.stdout.replace(r"\-", "-")
    assert text.startswith('.TH "COLORCLI" 1 ')
    sections = dict(
        re.findall(r'^\.SS "colorcli (\S+(?: pull)?).*?"\n(.*?)(?=^\.S[SH] )', text, re.MULTILINE | re.DOTALL)
    )
    assert {"colorize", "watch", "train", "evaluate", "export", "status", "verify"} <= set(sections)
    assert "--sigma" in sections["colorize"] and "[default: 0.8]" in sections["colorize"]
    assert "--rest" in sections["watch"] and "--sigma" in sections["watch"]


def test_no_variable_is_named_that_must_not_be_read(run: Run) -> None:
    """COLORCLI_INSTALL_COMPLETION=1 had every command change the shell's start files, as the page told."""
    page = run("help", "--man").stdout
    assert "env var" not in page and "COLORCLI_COLORIZE_SIGMA" in page and "COLORCLI_DATA_DIR" in page
    shown = run("doctor", "--help", COLORCLI_SHOW_COMPLETION="bash")
    assert shown.returncode == 0 and "_COLORCLI_COMPLETE" not in shown.stdout


def test_the_page_of_one_command(run: Run) -> None:
    """Each command has its own page, as git has git-commit(1)."""
    page = run("help", "--man", "models", "pull").stdout
    assert page.startswith('.TH "COLORCLI\\-MODELS\\-PULL" 1 ')
    assert ".SH COMMANDS" not in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_typesetter_has_no_complaints(run: Run) -> None:
    """A backslash or a dot at the start of a line could make text disappear silently."""
    page = run("help", "--man").stdout
    result = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)
    assert "How far colours stray from the expected." in " ".join(plain.split())
