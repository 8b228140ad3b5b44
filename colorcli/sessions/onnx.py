"""Running an exported network with ONNX Runtime. Neither PyTorch nor the package ``onnx`` is needed."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import DeviceError, ModelError, UsageError
from colorcli.sessions import onnx_file
from colorcli.sessions.machine import available_cpus
from colorcli.sessions.session import NO_CONTROLS, Controls, ModelInfo, OutOfMemoryError

# In the order in which ``auto`` tries them. TensorRT is never chosen by itself: it compiles for minutes, and anew for
# each range of shapes, so a folder of mixed photographs would wait for it longer than it gains.
_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_TENSORRT = "TensorrtExecutionProvider"
_NUMBERED = ("cuda", "tensorrt", "rocm", "directml")
_KINDS = ("auto", "cpu", "cuda", "tensorrt", "rocm", "directml", "coreml")
_MEMORY = re.compile(
    r"failed to allocate memory|out of memory|bad.?alloc|allocate ?raw|_ALLOC_FAILED|bfc_arena|smaller than requested",
    re.IGNORECASE,
)
_FATAL_ONLY = 4
# Multiply-adds of a photograph from which on one at a time fills many CPUs well, and several would take much memory.
_LARGE = 20e9


class OnnxSession:
    """An exported model on a device. Up to ``streams`` threads run it at a time.

    Args:
        path: a file that ``colorcli export`` has made.
        info: what the pipeline needs to know of the model.
        device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``, ``rocm``, ``directml`` (these four with ``:N``), ``coreml``,
            or PyTorch's name for the last, ``mps``.
        precision: ``auto``, or the file's own.
        threads: CPU threads; None takes as many as the process may use CPUs.
        photographs: how many will be coloured, about. On a CPU, a small network colours several at a time with a
            thread for each, which loses nothing to waiting; answers are the same.
        cache: folder for compiled engines; None keeps none.

    Attributes:
        header: what the file says of itself.
        weights_bytes: size of the file, nearly all of which is weights.
        threads: CPU threads for one photograph.
        streams: photographs that may be coloured at a time.

    Raises:
        ModelError: the file is damaged, no export of ours, or newer than this program; or there is no ONNX Runtime.
        DeviceError: the device was asked for by name and is not there, or its memory does not hold the model.
        UsageError: there is no such device, or the file has another precision.
    """

    backend = "onnxruntime"
    compiled = False

    def __init__(
        self,
        path: Path,
        info: ModelInfo,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        photographs: int = 1,
        cache: Path | None = None,
    ) -> None:
        kind, index = _parse_device(device)
        self.header = onnx_file.check(path)
        self.info = info
        self.precision = self.header.precision
        if precision not in ("auto", self.precision):
            raise UsageError(f"{path} was exported as {self.precision}; for {precision}, export it with --precision.")
        self.weights_bytes = path.stat().st_size
        self.threads, self.streams = threads or available_cpus(), 1
        if photographs > 1 and (self.header.multiply_adds or _LARGE) < _LARGE:
            self.streams = min(self.threads, photographs)
            self.threads //= self.streams
        self._runtime = _runtime()
        self._session, kind = self._open(path, kind, index, cache)
        self.device = f"{kind}:{index}" if kind in _NUMBERED else kind
        if kind != "cpu":
            self.streams = 1
        # Only these two have memory of their own that ONNX Runtime's Python interface can fill.
        self._place = ("cuda", index) if kind in ("cuda", "tensorrt") else None
        self._inputs = {given.name for given in self._session.get_inputs()}

    def chroma(self, lightness: NDArray[np.float32], controls: Controls = NO_CONTROLS) -> NDArray[np.float32]:
        """See ``Session.chroma``."""
        given = {name: np.ascontiguousarray(value) for name, value in controls.items() if name in self._inputs}
        with _memory_errors():
            return self._run({"lightness": np.ascontiguousarray(lightness, np.float32), **given})

    def _run(self, given: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        if self._place is None:
            answer: NDArray[np.float32] = self._session.run(["chroma"], given)[0]
            return answer
        # Bound to the device, inputs go there once and no intermediate comes back.
        binding = self._session.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, self._runtime.OrtValue.ortvalue_from_numpy(value, *self._place))
        binding.bind_output("chroma", *self._place)
        self._session.run_with_iobinding(binding)
        bound: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return bound

    def _open(self, path: Path, kind: str, index: int, cache: Path | None) -> tuple[Any, str]:
        """A session of the runtime, and the kind of device it is on."""
        offered = set(self._runtime.get_available_providers())
        wanted = [known for known, provider in _PROVIDERS.items() if provider in offered] if kind == "auto" else [kind]
        for attempt in wanted:
            provider = _TENSORRT if attempt == "tensorrt" else _PROVIDERS[attempt]
            if provider not in offered:
                raise DeviceError(
                    f"Device '{attempt}' is not available: this ONNX Runtime offers {', '.join(sorted(offered))}."
                )
            if attempt in ("cuda", "tensorrt"):
                self._preload()
            try:
                session = self._create(path, self._providers(attempt, index, cache))
            except DeviceError:
                if kind == "auto" and attempt != "cpu":
                    continue  # others have filled the GPU
                raise
            # A provider that cannot start is replaced by the next one without a word.
            if session is not None and session.get_providers()[0] == provider:
                return session, attempt
            if kind != "auto":
                raise DeviceError(
                    f"Device '{attempt}' is not available: ONNX Runtime offers it but could not start it; "
                    "its driver or libraries are missing, or do not fit."
                )
        raise ModelError(f"The ONNX file {path} cannot be run: no provider of ONNX Runtime takes it.")

    def _create(self, path: Path, providers: list[Any]) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Threads that wait in a loop for their next part take the CPU from those that decode and encode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _FATAL_ONLY
        try:
            with _memory_errors():
                return self._runtime.InferenceSession(str(path), options, providers=providers)
        except OutOfMemoryError as error:
            raise DeviceError(f"There is not enough memory to load {path}: {error}") from error
        except Exception as error:
            if providers == [_PROVIDERS["cpu"]]:
                first = str(error).strip().split("\n")[0]
                raise ModelError(f"The ONNX file {path} cannot be loaded: {first}.") from error
            return None

    @staticmethod
    def _providers(kind: str, index: int, cache: Path | None) -> list[Any]:
        engines = "" if cache is None else str(cache / "engines")
        place = {"device_id": str(index)}
        cuda = (_PROVIDERS["cuda"], place)
        cpu = _PROVIDERS["cpu"]
        if engines and kind in ("tensorrt", "coreml"):
            Path(engines).mkdir(parents=True, exist_ok=True)
        if kind == "tensorrt":
            kept = {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"}
            folders = {"trt_engine_cache_path": engines, "trt_timing_cache_path": engines}
            return [(_TENSORRT, place | (kept | folders if engines else {})), cuda, cpu]
        if kind == "cuda":
            return [cuda, cpu]
        if kind == "coreml":
            return [(_PROVIDERS[kind], {"ModelCacheDirectory": engines} if engines else {}), cpu]
        return [cpu] if kind == "cpu" else [(_PROVIDERS[kind], place), cpu]

    def _preload(self) -> None:
        """Load the CUDA libraries that came with PyTorch or as packages, which the system's loader does not find."""
        preload = getattr(self._runtime, "preload_dlls", None)
        if preload is not None:
            # It prints what it does not find; whether that was needed shows when the provider starts.
            with contextlib.redirect_stdout(io.StringIO()):
                preload()


def _parse_device(name: str) -> tuple[str, int]:
    kind, _, number = ("coreml" if name == "mps" else name).partition(":")
    if kind not in _KINDS or (number and (kind not in _NUMBERED or not number.isdecimal())):
        raise UsageError(f"There is no device '{name}' for ONNX Runtime; use {', '.join(_KINDS)}, or cuda:N.")
    return kind, int(number or 0)


def _runtime() -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ModelError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime.") from error
    # What goes wrong is said by the exceptions; the library would also print it.
    runtime.set_default_logger_severity(_FATAL_ONLY)
    return runtime


@contextmanager
def _memory_errors() -> Iterator[None]:
    """ONNX Runtime has no class of errors for a lack of memory: its messages tell."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(str(error)) from error
    except Exception as error:
        if _MEMORY.search(str(error)):
            raise OutOfMemoryError(str(error)) from error
        raise
