"""Colouring from S3 into S3, on a server of this machine: needs ``pip install 'moto[server]' s3fs``."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colorcli import stores
from colorcli.cli import main
from colorcli.errors import ExitCode

from .conftest import contents, write_gray
from .test_resume import DRIVER

moto = pytest.importorskip("moto.server", reason="needs pip install 'moto[server]' s3fs")
s3fs = pytest.importorskip("s3fs", reason="needs pip install 'moto[server]' s3fs")
pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of a new server with an empty bucket ``archive``, which colorcli's environment names."""
    server = moto.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    variables = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "hush-id", "AWS_SECRET_ACCESS_KEY": "hush-secret"}
    for name, value in {**variables, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    stores._driver_of.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    client = s3fs.S3FileSystem(use_listings_cache=False)
    client.mkdir("archive")
    yield client
    client.rm("archive", recursive=True)  # moto's servers share their buckets
    stores._driver_of.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def _colour(*arguments: str, die: str = "no") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, "0", die, "colorize", *arguments, "--jobs", "2"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("moment", ["written:4", "put:1", "put:5"])
def test_a_run_from_a_bucket_into_a_bucket_is_killed_and_continued(bucket: Any, tmp_path: Path, moment: str) -> None:
    """Results, conflicts and records are those of folders, and no key is written down."""
    for index in range(8):
        write_gray(tmp_path / "old" / f"{'sub/' * (index % 2)}{index}.{('png', 'jpg', 'tif')[index % 3]}", 160, 120)
    bucket.put(str(tmp_path / "old"), "archive/old", recursive=True)
    assert _colour(str(tmp_path / "old"), "-o", str(tmp_path / "local")).returncode == 0
    killed = _colour("s3://archive/old", "-o", "s3://archive/new", die=moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    continued = _colour("s3://archive/old", "-o", "s3://archive/new")
    assert continued.returncode == 0, continued.stderr
    bucket.get("archive/new", str(tmp_path / "got"), recursive=True)
    assert contents(tmp_path / "got") == contents(tmp_path / "local")
    again = _colour("s3://archive/old", "-o", "s3://archive/new")
    assert "0 coloured, 8 done already" in again.stderr
    # a copy of the bucket is an output folder like any other
    assert main(["verify", str(tmp_path / "got")]) == ExitCode.OK
    assert all(b"hush" not in bucket.cat_file(key) for key in bucket.find("archive/new"))
    assert not [key for key in bucket.find("archive/new") if "/lock-" in key]
