"""The ONNX copy of a model, made once in the cache for runs on a CPU."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

import colorcli
from colorcli.environment import cache_dir
from colorcli.errors import ColorcliError, ModelError, OutputError, StoppedError, UsageError, VerificationError
from colorcli.registry.card import ModelCard
from colorcli.registry.systems import systems
from colorcli.sessions import onnx_file

Waiting = Callable[[str, float], None]
"""Called several times a second with what is being waited for, and for how many seconds."""

_PACKAGE = Path(colorcli.__file__).parent
_DECIDING = (
    "networks/*.py", "color/tensors.py", "color/bins.py", "color/spaces.py", "export/*.py", "pipeline/controls.py"
)  # fmt: skip
_EXPORTERS = ("onnx", "onnxscript")
_ERRORS: dict[int, type[ColorcliError]] = {
    error.exit_code: error for error in (UsageError, OutputError, VerificationError)
}
# Seconds between checks for a stop, and until a process that was asked to end is killed.
_GLANCE, _PATIENCE = 0.1, 3.0
_LARGE = 50e6  # bytes of weights; of 220 to 915 MB, two to six minutes of processor time were measured
_UNUSED = 30 * 86400.0  # seconds after which a copy that nobody used is removed


def copy_path(card: ModelCard) -> Path:
    """Path of a model's ONNX copy: named by the hash of its weights and of everything else that decides its output.

    That includes the code of networks and export, so that no copy outlives a change of it.
    """
    facts = {
        "format": onnx_file.FORMAT,
        "colorcli": colorcli.__version__,
        "system": card.system,
        "network": card.network,
        "controls": card.controls,
        "size": dataclasses.asdict(card.size),
        "backbones": {part: shared.sha256 for part, shared in card.backbones.items()},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    own = [path for place in _DECIDING for path in sorted(_PACKAGE.glob(place))]
    for path in (*own, *_plugin(card.system)):
        digest.update(path.read_bytes())
    return cache_dir() / "onnx" / f"{card.weights_sha256}-{digest.hexdigest()[:12]}.onnx"


def _plugin(system: str) -> list[Path]:
    """Source file of a network from another package."""
    module = systems().module(system)
    if module is None or module.startswith("colorcli."):
        return []
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    path = Path(found.origin) if found is not None and found.origin else None
    return [path] if path is not None and path.is_file() else []


def is_usable(copy: Path) -> bool:
    """Whether a copy exists and is intact; a damaged one is replaced."""
    if not copy.is_file():
        return False
    try:
        onnx_file.check(copy)
    except ModelError:
        return False
    return True


def note_use(copy: Path) -> None:
    """Set a copy's date to now: copies that were not used for 30 days are removed when the next one is made."""
    with suppress(OSError):
        os.utime(copy)


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def make_copy(card: ModelCard, copy: Path, waiting: Waiting, stopped: Callable[[], bool]) -> None:
    """Export a model into the cache, in a separate process, whose gigabyte of memory is returned.

    Args:
        card: of the model.
        copy: target, from ``copy_path``.
        waiting: called with the time taken so far.
        stopped: whether to stop.

    Raises:
        StoppedError: ``stopped`` became true; there is no copy.
        ModelError: it cannot be exported, or a package is missing; UsageError, OutputError and VerificationError as
            the export raises them.
    """
    missing = [package for package in _EXPORTERS if not is_installed(package)]
    if missing:
        raise ModelError(f"An export to ONNX needs packages that are missing: pip install {' '.join(missing)}.")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The cache {copy.parent} cannot be written: {error.strerror}.") from error
    with _turn(copy.parent, waiting, stopped):
        if not is_usable(copy):  # another program may have made it meanwhile
            _export(card, copy, waiting, stopped)
            _remove_unused(copy.parent)


@contextmanager
def _turn(folder: Path, waiting: Waiting, stopped: Callable[[], bool]) -> Iterator[None]:
    """One copy at a time on a machine: each takes a gigabyte and all processors."""
    lock, start = FileLock(folder.with_name(f"{folder.name}.lock")), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=_GLANCE)
            break
        except Timeout as error:
            if stopped():
                raise StoppedError("Stopped while another program was making its ONNX copy.") from error
            waiting("Waiting for another program to make its ONNX copy", time.monotonic() - start)
        except (OSError, NotImplementedError) as error:
            raise OutputError(f"The cache {folder} cannot be written: {error}.") from error
    try:
        yield
    finally:
        lock.release()


def _remove_unused(folder: Path) -> None:
    """Remove old copies: every change of weights or program leaves one behind, of up to a gigabyte."""
    for copy in folder.glob("*.onnx"):
        with suppress(OSError):  # removed by another program, or open in one on Windows
            if copy.stat().st_mtime < time.time() - _UNUSED:
                copy.unlink()


def _export(card: ModelCard, copy: Path, waiting: Waiting, stopped: Callable[[], bool]) -> None:
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "colorcli.export", os.fspath(card.weights), os.fspath(copy)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # The parent handles Ctrl-C.
        )
    except OSError as error:
        raise ModelError(f"No ONNX copy could be made: {error}.") from error
    with child:
        how_long = "half a minute or so" if card.weights.stat().st_size < _LARGE else "some minutes"
        what = f"Making an ONNX copy of {card.reference or card.exact_name}, once ({how_long})"
        said = _waited_for(child, what, waiting, stopped).decode(errors="replace").strip().split("\n")[-1]
    if child.returncode:
        reason = said or f"its process ended with {child.returncode}"
        raise _ERRORS.get(child.returncode, ModelError)(reason)


def _waited_for(child: subprocess.Popen[bytes], what: str, waiting: Waiting, stopped: Callable[[], bool]) -> bytes:
    """A process's stderr, once it has ended or been stopped."""
    start = time.monotonic()
    try:
        while not stopped():
            waiting(what, time.monotonic() - start)
            with suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=_GLANCE)[1]
        raise StoppedError("Stopped while an ONNX copy was being made; the next run makes it.")
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
