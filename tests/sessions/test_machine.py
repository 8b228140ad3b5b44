"""How many CPUs and how much memory a container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from colorcli.sessions import machine


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of control groups, on a machine with 64 CPUs, all available to this process."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_container_has_as_many_cpus_as_it_was_granted(groups: Path, tmp_path: Path) -> None:
    """Otherwise 64 threads would share two CPUs and wait for each other, and the container be throttled."""
    (tmp_path / "own").write_text("0::/user/job\n")
    assert machine.available_cpus() == 64
    _write(groups / "user" / "job", cpu__max="max 100000", memory__max="max\n")
    assert machine.available_cpus() == 64
    _write(groups / "user", cpu__max="250000 100000\n", memory__max="1000000\n")
    assert machine.available_cpus() == 3, "an enclosing group's limit counts, and fractions of a CPU are rounded up"
    assert machine.available_memory() == 1000000
    _write(groups / "user" / "job", cpu__max="50000 100000\n", memory__max="5000\n")
    assert machine.available_cpus() == 1 and machine.available_memory() == 5000


def test_older_systems_keep_a_tree_for_each_resource(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n")
    _write(groups / "cpu" / "job", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    _write(groups / "memory" / "job", memory__limit_in_bytes="123456")
    assert machine.available_cpus() == 2 and machine.available_memory() == 123456
    _write(groups / "cpu" / "job", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert machine.available_cpus() == 64


def test_a_container_that_sees_only_itself(groups: Path, tmp_path: Path) -> None:
    """Its group's path may be the host's, while the files are at the root."""
    (tmp_path / "own").write_text("0::/../../docker/abc\n")
    _write(groups, cpu__max="100000 100000")
    assert machine.available_cpus() == 1


@pytest.mark.parametrize("text", ["", "nonsense", "0::", "0::/x\n\n::"])
def test_without_control_groups_the_whole_machine_is_there(groups: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "own").write_text(text)
    assert machine.available_cpus() == 64
    memory = machine.available_memory()
    assert memory is None or memory > 1 << 26
