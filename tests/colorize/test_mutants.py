"""Damaged files of every format: each ends as done, skipped or failed, and quickly.

A test run uses a dozen per format; with ``COLORCLI_MUTANTS=1000`` it uses that many.
"""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from colorcli.images.formats import FORMATS

from ..conftest import ROOT

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("COLORCLI_MUTANTS", "12"))
SECONDS, BYTES = 10.0, 1_000_000_000
WORKER = (
    f"import runpy, sys; sys.path.append({str(ROOT)!r}); "
    "runpy.run_module('tests.colorize.mutant_worker', run_name='__main__')"
)


def _gray(bits: int = 8) -> Any:
    ramp = np.linspace(0, 1, 64 * 48).reshape(48, 64)
    noise = np.random.default_rng(0).random((48, 64)) * 0.2
    return ((0.8 * ramp + noise) * (255 if bits == 8 else 65535)).astype(np.uint8 if bits == 8 else np.uint16)


def _pillow(form: str, mode: str = "L", **save: Any) -> Callable[[], bytes]:
    def made() -> bytes:
        stream = io.BytesIO()
        Image.fromarray(_gray()).convert(mode).save(stream, form, **save)
        return stream.getvalue()

    return made


def _tiff(bits: int = 8, **options: Any) -> Callable[[], bytes]:
    def made() -> bytes:
        stream = io.BytesIO()
        tifffile.imwrite(stream, _gray(bits), **options)
        return stream.getvalue()

    return made


def _heif() -> bytes:
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(_gray())).save(stream, format="HEIF")
    return stream.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a photograph", 6
    return exif.tobytes()


SEEDS: dict[str, tuple[Callable[[], bytes], ...]] = {
    "JPEG": (
        _pillow("JPEG", exif=_exif(), comment=b"words"),
        _pillow("JPEG", progressive=True),
        _pillow("JPEG", "CMYK"),
        _pillow("JPEG", "RGB", restart_marker_rows=1),
    ),
    "PNG": (
        _pillow("PNG", exif=_exif()),
        _pillow("PNG", "P"),
        _pillow("PNG", "1"),
        _pillow("PNG", "LA"),
        lambda: bytes(imagecodecs.png_encode(_gray(16))),
    ),
    "TIFF": (
        _tiff(),
        _tiff(16, compression="lzw"),
        _tiff(16, compression="zlib", predictor=True),
        _tiff(compression="packbits", rowsperstrip=7),
        _tiff(tile=(16, 16), compression="zstd"),
        _tiff(bigtiff=True, byteorder=">"),
        _pillow("TIFF", "1", compression="group4"),
        _pillow("TIFF", "RGB", compression="jpeg"),
    ),
    "WEBP": (_pillow("WEBP", exif=_exif()), _pillow("WEBP", lossless=True), _pillow("WEBP", "RGBA")),
    "JPEG2000": (_pillow("JPEG2000"), _pillow("JPEG2000", no_jp2=True)),
    "BMP": (_pillow("BMP"), _pillow("BMP", "RGB")),
    "GIF": (_pillow("GIF"),),
    "AVIF": (_pillow("AVIF"),),
    "HEIF": (_heif,),
}


def test_every_format_has_seeds() -> None:
    """A new format must not be forgotten here; a DNG cannot be made in a test."""
    assert set(SEEDS) == set(FORMATS) - {"DNG"}


def _number(draw: Any, size: int) -> tuple[int, bytes]:
    width = draw(st.sampled_from((1, 2, 4, 8)))
    value = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 64) - 1)))
    order: Any = draw(st.sampled_from(("little", "big")))
    return draw(st.integers(0, size - 1)), (value & ((1 << 8 * width) - 1)).to_bytes(width, order)


@st.composite
def mutants(draw: Any, seeds: tuple[bytes, ...]) -> bytes:
    """A file with one to four faults, most of them near its beginning, where the structure is."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        size = len(data)
        if not size:
            break
        near = draw(st.integers(0, min(size, 200) - 1)) if draw(st.booleans()) else draw(st.integers(0, size - 1))
        kind = draw(st.sampled_from(("flip", "number", "cut", "drop", "repeat", "fill", "insert", "swap")))
        if kind == "flip":
            data = data[:near] + bytes([data[near] ^ 1 << draw(st.integers(0, 7))]) + data[near + 1 :]
        elif kind == "number":
            _, number = _number(draw, size)
            data = data[:near] + number + data[near + len(number) :]
        elif kind == "cut":
            data = data[:near]
        else:
            length = draw(st.integers(1, min(64, size - near)))
            piece = data[near : near + length]
            there = draw(st.integers(0, size - 1))
            data = {
                "drop": data[:near] + data[near + length :],
                "repeat": data[:near] + piece * draw(st.integers(2, 40)) + data[near + length :],
                "fill": data[:near] + bytes([draw(st.sampled_from((0, 0xFF)))]) * length + data[near + length :],
                "insert": data[:near] + draw(st.binary(min_size=1, max_size=16)) + data[near:],
                "swap": data[:there] + piece + data[there:],
            }[kind]
    return data


class Worker:
    """The process that colours; replaced if it has died, hangs, or has used much memory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stderr = folder, folder / "stderr"
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, content: bytes, name: str) -> dict[str, Any]:
        process = self._ready()
        (self.folder / name).write_bytes(content)
        assert process.stdin is not None
        process.stdin.write(f"{name}\n".encode())
        process.stdin.flush()
        # a busy machine gets more time, since the limit is on processor time
        before = _processor_seconds(process)
        line = self._line(process, SECONDS * 6)
        spent = _processor_seconds(process) - before
        if line is None:
            self.stop()
            raise AssertionError(f"it hung for {SECONDS * 6:.0f} s" if process.poll() is None else "it crashed")
        assert spent < SECONDS, f"it took {spent:.1f} s"
        answer: dict[str, Any] = json.loads(line)
        if answer["peak"] > BYTES:
            self.stop()
        return answer

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-W", "ignore", "-c", WORKER, str(self.folder)]
            with self.stderr.open("ab") as log:
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
            assert self._line(self._process, 300) is not None, "it does not start"
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        return (process.stdout.readline() or None) if ready else None

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _processor_seconds(process: subprocess.Popen[bytes]) -> float:
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("mutants"))
    yield made
    made.stop()


@pytest.mark.parametrize("form", SEEDS)
def test_mutants_end_as_done_skipped_or_failed(worker: Worker, form: str) -> None:
    """One damaged file among eighty thousand must not end the run or take the machine down."""
    seeds = tuple(make() for make in SEEDS[form])
    for seed in seeds:
        assert worker(seed, f"seed{FORMATS[form].suffixes[0]}")["ends"] == ["photo.done"]

    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(mutants(seeds))
    def check(content: bytes) -> None:
        found = worker(content, f"mutant{FORMATS[form].suffixes[0]}")
        assert found["matched"] == found["totals"] == len(found["ends"]) == 1
        assert found["unprocessed"] == 0
        assert found["same"], "the original was changed"
        assert found["left"] == [], "something half-written was left"
        assert found["peak"] < BYTES, f"it took {found['peak'] / 1e6:.0f} MB"
        for reason in found["reasons"]:
            assert "unexpected" not in reason, reason

    worker.stderr.write_bytes(b"")
    check()
    assert worker.stderr.read_text(errors="replace") == "", "what libraries print tears the progress line"
