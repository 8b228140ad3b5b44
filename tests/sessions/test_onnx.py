"""Running exported models; for GPUs, a stand-in for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from colorcli.errors import DeviceError, ExitCode, ModelError, UsageError
from colorcli.pipeline.controls import complete
from colorcli.pipeline.opening import open_model
from colorcli.registry import registry
from colorcli.sessions.onnx import _PROVIDERS, OnnxSession
from colorcli.sessions.session import OutOfMemoryError

from .conftest import Write, toy


def opened(path: Path, **options: Any) -> OnnxSession:
    """The file as a session, as ``open_model`` opens it."""
    return OnnxSession(path, registry.model_info(registry.find(str(path))), **options)


LIGHTNESS = np.linspace(0, 100, 2 * 16 * 32, dtype=np.float32).reshape(2, 1, 16, 32)


class Pretender:
    """Stands in for ONNX Runtime's ``InferenceSession``; only the providers in ``starts`` start."""

    def __init__(self, starts: tuple[str, ...]) -> None:
        self.starts = starts
        self.asked: list[list[Any]] = []

    def __call__(self, path: str, options: Any, providers: list[Any]) -> Any:
        self.asked.append(providers)
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        session = onnxruntime.InferenceSession.__new__(_Started)
        session.names = [name for name in names if name in self.starts]
        return session


class _Started(onnxruntime.InferenceSession):  # type: ignore[misc]
    names: list[str]

    def get_providers(self) -> list[str]:
        return self.names

    def get_inputs(self) -> list[Any]:
        return []


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the runtime offer and start providers: ``runtime(offered, starts)``."""

    def pretend(offered: tuple[str, ...], starts: tuple[str, ...]) -> Pretender:
        made = Pretender((*starts, "CPUExecutionProvider"))
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*offered, "CPUExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "InferenceSession", made)
        return made

    return pretend


def test_the_graph_is_given_what_the_network_would_be(write: Write) -> None:
    """If codes or classes did not reach the graph, all samples would look alike."""
    session = opened(write(), device="cpu", threads=1)
    z = np.full((2, 68), 3, np.float32)
    answer = session.chroma(LIGHTNESS, {"z": z, "class_index": np.array([5, 207])})
    assert answer.dtype == np.float32
    assert np.allclose(answer[:, 0], LIGHTNESS[:, 0] + 3) and np.allclose(answer[:, 1], [[[5]], [[207]]])
    plain = session.chroma(LIGHTNESS, complete(session.info.controls, {}, LIGHTNESS))
    assert np.allclose(plain[:, 0], LIGHTNESS[:, 0]) and np.allclose(plain[:, 1], -1)
    assert (session.device, session.backend, session.precision, session.threads) == ("cpu", "onnxruntime", "fp32", 1)


def test_small_networks_colour_several_photographs_at_a_time(write: Write) -> None:
    """With small networks, threads that share one photograph mostly wait for each other; large networks need them."""
    small, large = write(multiply_adds=10**9), write(name="large.onnx", multiply_adds=10**11)

    def divided(path: Path, photographs: int) -> tuple[int, int]:
        session = opened(path, device="cpu", threads=6, photographs=photographs)
        return session.streams, session.threads

    assert [divided(small, count) for count in (1, 4, 100)] == [(1, 6), (4, 1), (6, 1)]
    assert divided(large, 100) == (1, 6)


def test_a_model_is_found_by_its_file(write: Write) -> None:
    """``--model model.onnx`` needs no other file."""
    path = write()
    card = registry.find(str(path))
    assert (card.exact_name, card.licence, card.controls) == ("toy@lite", "CC0", ("z", "class_index"))
    session = open_model(str(path), device="cpu")
    assert session.info.name == str(path) and session.info.weights_sha256 == "ab" * 32
    registry.verify(card)
    with pytest.raises(ModelError, match="which can only be run"):
        registry.read_weights(card)


def test_a_gpu_that_is_not_there_is_an_error(write: Write, runtime: Any) -> None:
    """Otherwise a run for which CUDA was requested would spend the night on the CPU."""
    path = write()
    runtime((), ())
    with pytest.raises(DeviceError, match="is not available") as refused:
        opened(path, device="cuda")
    assert refused.value.exit_code == ExitCode.DEVICE
    runtime(("CUDAExecutionProvider",), ())
    with pytest.raises(DeviceError, match="could not start it"):
        opened(path, device="cuda:1")


def test_providers_are_tried_in_order(write: Write, runtime: Any, tmp_path: Path) -> None:
    path = write()
    cuda = ("CUDAExecutionProvider",)
    made = runtime(cuda, cuda)
    session = opened(path, device="cuda:1")
    assert session.device == "cuda:1"
    assert made.asked == [[("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"]]
    assert opened(path).device == "cuda:0"
    runtime(cuda, ())
    assert opened(path).device == "cpu"
    tensorrt = ("TensorrtExecutionProvider", *cuda)
    made = runtime(tensorrt, tensorrt)
    assert opened(path, device="tensorrt", cache=tmp_path).device == "tensorrt:0"
    assert made.asked[0][0][1]["trt_engine_cache_path"] == str(tmp_path / "engines")
    assert opened(path).device == "cuda:0", "TensorRT, which is slow to start, is only used on request"
    runtime(("CoreMLExecutionProvider",), ("CoreMLExecutionProvider",))
    assert opened(path, device="mps").device == "coreml"


def test_a_gpu_that_others_have_filled_is_passed_over_or_said(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU that others have filled, ``auto`` must use the CPU, and ``cuda`` must fail rather than use the CPU."""
    path, start = write(), onnxruntime.InferenceSession

    def full(path: str, options: Any, providers: list[Any]) -> Any:
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("CUDA failure 2: out of memory")
        return start(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(_PROVIDERS.values()))
    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    assert opened(path).device == "cpu"
    with pytest.raises(DeviceError, match="not enough memory to load"):
        opened(path, device="cuda")


@pytest.mark.parametrize(
    "message",
    [
        "Failed to allocate memory for requested buffer of size 123",
        "CUDA failure 2: out of memory",
        "BFCArena::AllocateRawInternal Available memory of 1 is smaller than requested bytes of 2",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_a_lack_of_memory_is_known_as_such(write: Write, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """Otherwise the run would fail photographs instead of trying a smaller batch."""
    session = opened(write(), device="cpu")

    def fail(*_: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(session._session, "run", fail)
    with pytest.raises(OutOfMemoryError):
        session.chroma(LIGHTNESS, complete(session.info.controls, {}, LIGHTNESS))


def test_what_cannot_be_is_a_usage_error(write: Write) -> None:
    path = write()
    with pytest.raises(UsageError, match="exported as fp32"):
        opened(path, precision="fp16")
    for device in ("gpu", "cpu:1", "cuda:x", ""):
        with pytest.raises(UsageError, match="no device"):
            opened(path, device=device)


def test_a_graph_the_runtime_does_not_take_is_a_model_error(write: Write) -> None:
    model = toy()
    model.graph.node[0].op_type = "Gathers"
    with pytest.raises(ModelError, match="cannot be loaded"):
        opened(write(model), device="cpu")
