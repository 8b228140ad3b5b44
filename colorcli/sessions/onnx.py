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
# Above these multiply-adds, one photograph at a time fills many CPUs well, and several would take much memory.
_LARGE = 20e9


class OnnxSession:
    """An exported model on a device. Up to ``streams`` threads run it at a time.

    Args:
        path: a file that ``colorcli export`` has made.
        info: of the model.
        device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``, ``rocm``, ``directml`` (these four with ``:N``), ``coreml``,
            or PyTorch's name for the last, ``mps``.
        precision: ``auto``, or the file's own.
        threads: CPU threads; None: all CPUs that the process may use.
        photographs: approximate number to be coloured. On a CPU, a small network colours several at a time with one
            thread each, which wastes no time on synchronization; results are the same.
        cache: folder for compiled engines; None: no cache.

    Attributes:
        header: the file's metadata.
        weights_bytes: size of the file, which is nearly all weights.
        threads: CPU threads for one photograph.
        streams: photographs that may be coloured at a time.

    Raises:
        ModelError: the file is damaged, was not exported by colorcli or by a newer version, or ONNX Runtime is missing.
        DeviceError: a named device is missing, or its memory is too small for the model.
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
        # Only these two have device memory that ONNX Runtime's Python API can fill.
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
        # With bound inputs, nothing but the result is copied back.
        binding = self._session.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, self._runtime.OrtValue.ortvalue_from_numpy(value, *self._place))
        binding.bind_output("chroma", *self._place)
        self._session.run_with_iobinding(binding)
        bound: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return bound

    def _open(self, path: Path, kind: str, index: int, cache: Path | None) -> tuple[Any, str]:
        """Create the runtime's session; also returns its kind of device."""
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
                    continue  # the GPU's memory is taken
                raise
            # A provider that cannot start is silently replaced by the next one.
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
        # Threads that spin while they wait take the CPU from decoding and encoding.
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
        """Load CUDA libraries from PyTorch or other packages, which the system's loader does not find."""
        preload = getattr(self._runtime, "preload_dlls", None)
        if preload is not None:
            # It prints missing libraries; whether they matter shows when the provider starts.
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
    # Errors are raised as exceptions; the library would print them as well.
    runtime.set_default_logger_severity(_FATAL_ONLY)
    return runtime


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn out-of-memory errors, which only their messages identify, into OutOfMemoryError."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(str(error)) from error
    except Exception as error:
        if _MEMORY.search(str(error)):
            raise OutOfMemoryError(str(error)) from error
        raise
