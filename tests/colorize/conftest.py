"""A fast fake network, tiny photographs, and a run in one call."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorcli.color import join
from colorcli.colorize import discover, plan
from colorcli.colorize.events import Event
from colorcli.colorize.executors import Work
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.options import Execution, choose_parameters
from colorcli.colorize.run import Report, carry_out
from colorcli.stopping import Stop

from ..fakes import INFO, FakeSession


def write_gray(path: Path, width: int = 48, height: int = 32, value: int | None = None, **save: Any) -> Path:
    """A small gray photograph; its pixels depend on its name, or are all ``value``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode("utf-8", "surrogateescape")))
    pixels = rng.integers(40, 200, (height, width), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    form = {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WEBP"}[path.suffix.lower()]
    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, form, **save)
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder of six photographs, two of them in a subfolder."""
    for name in ("a.png", "b.png", "c.jpg", "d.tif", "sub/e.png", "sub/f.png"):
        write_gray(tmp_path / "old" / name)
    return tmp_path / "old"


@pytest.fixture(autouse=True, scope="session")
def compiled() -> None:
    """Compile beforehand: the first run on a machine does so, and announces it among its events."""
    join.warm_up()


class Colour:
    """Colours a folder in threads; ``events`` and ``plan`` are those of the last run."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.plan: plan.Plan
        self.session = FakeSession()

    def __call__(
        self,
        *inputs: Path,
        output: Path | None = None,
        listed: Sequence[str] = (),
        session: Any = None,
        samples: int = 1,
        selection: plan.Selection | None = None,
        overwrite: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        stop: Stop | None = None,
        observe: Callable[[Any], None] | None = None,
        execution: Execution | None = None,
        **parameters: Any,
    ) -> Report:
        self.session = session or FakeSession()
        execution = execution or Execution(jobs=2, fsync=False)
        chosen = choose_parameters(self.session.info, samples=samples, **parameters)
        found = discover.discover(discover.sources(inputs, listed, output), include=include, exclude=exclude)
        self.plan = plan.make_plan(
            found,
            chosen,
            self.session.info.weights_sha256,
            samples=samples,
            selection=selection or plan.Selection(),
            overwrite=overwrite,
            recolor=execution.recolor,
            largest=execution.largest,
        )
        self.events = []

        def tell(record: Event) -> None:
            self.events.append(record)
            if observe:
                observe(record)

        work = Work(lambda: self.session, chosen, execution, stop or Stop())
        return carry_out(self.plan, LocalExecutor(work), self.session.info, work, observe=tell)

    def of(self, kind: str) -> list[Any]:
        return [record for record in self.events if record["event"] == kind]

    def reasons(self) -> dict[str, str]:
        """Reasons why outputs were not made, by input."""
        return {str(r["input"]): str(r["reason"]) for r in self.events if "reason" in r}


@pytest.fixture
def colour() -> Colour:
    return Colour()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder except the journal and its lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".colorcli" not in path.parts
    }


def with_info(**changes: Any) -> FakeSession:
    """A session whose model information is changed."""
    return FakeSession(info=replace(INFO, **changes))
