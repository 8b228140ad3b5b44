"""Compares an exported graph with its network, on photographs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colorcli.color.enlarge import chroma_of
from colorcli.errors import ModelError, PhotoError, VerificationError
from colorcli.files import walk
from colorcli.images.formats import is_photograph_name, labels
from colorcli.images.photo import Pixels
from colorcli.images.read import decode_pixels, read_photo
from colorcli.images.resize import working_lightness
from colorcli.images.samples import color_photographs
from colorcli.images.tiles import Windows
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.pipeline.controls import examples
from colorcli.sessions.machine import available_cpus

TOLERANCES = {"fp32": 0.1, "fp16": 1.0, "int8": 3.0}
"""The largest difference in a* or b* that a file may have, by its precision."""

# Scale of the working size, (height, width), number of photographs.
_CASES = ((0.5, (3, 4), 1), (1.0, (1, 1), 3), (1.25, (4, 3), 2))
COLORINGS = sum(count for *_, count in _CASES)
"""Photographs that a graph is compared on."""


@dataclass(frozen=True)
class Verification:
    """Difference between a graph's chroma and its network's.

    Attributes:
        maximum: largest absolute difference in a* or b*.
        mean: mean absolute difference.
        colorings: number of photographs compared; ``shapes`` are the batches, ``(N, H, W)``.
    """

    maximum: float
    mean: float
    colorings: int
    shapes: tuple[tuple[int, int, int], ...]

    def record(self) -> dict[str, Any]:
        """For the file's metadata."""
        return {
            "maximum": float(f"{self.maximum:.3g}"),
            "mean": float(f"{self.mean:.3g}"),
            "colorings": self.colorings,
            "shapes": [list(shape) for shape in self.shapes],
        }


@dataclass(frozen=True)
class Expected:
    """A network's inputs, by the graph's names, and its answer: chroma ``(N, 2, h, w)`` or RGB ``(N, 3, h, w)``."""

    inputs: dict[str, NDArray[Any]]
    answer: NDArray[np.float32]


def bundled_photographs() -> list[Pixels]:
    """The photographs that ship with scikit-image."""
    return [decode_pixels(content, Path(name)) for name, content in color_photographs().items()]


def read_folder(folder: Path) -> Iterator[Pixels]:
    """Photographs below a folder, by name; unreadable ones are skipped.

    They are read lazily, since scans are large.

    Raises:
        ModelError: there is none.
    """
    found = False

    def unreadable(relative: str, error: OSError) -> None:
        raise ModelError(f"The folder {folder / relative} cannot be read: {error.strerror or error}.") from error

    for name in walk(folder, regular=True, unreadable=unreadable):
        if is_photograph_name(PurePosixPath(name).name):
            try:
                pixels = read_photo(folder / name).pixels
            except PhotoError:
                continue
            found = True
            yield pixels
    if not found:
        raise ModelError(f"There is no photograph in {folder} to calibrate with ({labels()}).")


def ask(network: Colorizer, controls: Sequence[str], rule: SizeRule, photographs: Sequence[Pixels]) -> list[Expected]:
    """A prepared network's output at three sizes, shapes and batch sizes; at a fixed size, three batch sizes."""
    expected, at = [], 0
    for scale, aspect, count in _CASES:
        shape = rule.working_shape(*aspect, None if rule.fixed else max(1, round(rule.size * scale)))
        chosen = [photographs[(at + member) % len(photographs)] for member in range(count)]
        inputs = network_inputs(
            [working_lightness(pixels, *shape, rule.resize) for pixels in chosen], controls, first=at
        )
        at += count
        with torch.inference_mode():
            given = {name: torch.from_numpy(value) for name, value in inputs.items()}
            answer = network.answering(rule)(given.pop("lightness"), **given)
        expected.append(Expected(inputs, answer.numpy()))
    return expected


def network_inputs(
    lightness: Sequence[NDArray[np.float32]], controls: Sequence[str], first: int = 0
) -> dict[str, NDArray[Any]]:
    """A graph's inputs for photographs of one shape, each with different values of its controls."""
    numbers = range(first, first + len(lightness))
    seen = Windows((lightness[0],), (0,), lightness[0].shape[1], 1)
    return {"lightness": np.stack(lightness)[:, None], **examples(controls, numbers, seen)}


def compare(content: bytes, expected: Sequence[Expected]) -> Verification:
    """Run a serialized model in ONNX Runtime, on the CPU, and compare.

    Raises:
        VerificationError: ONNX Runtime cannot run it, or its output has another shape.
    """
    session = cpu_session(content)
    differences = []
    for case in expected:
        try:
            answer = session.run(["chroma"], case.inputs)[0]
        except Exception as error:
            shape = case.inputs["lightness"].shape
            raise VerificationError(f"ONNX Runtime cannot run the graph on a batch of {shape}: {error}") from error
        if answer.shape != case.answer.shape or answer.dtype != np.float32:
            raise VerificationError(
                f"The graph answers {answer.dtype} {answer.shape}, the network float32 {case.answer.shape}."
            )
        pairs = zip(answer, case.answer, strict=True)
        differences.append(np.stack([np.abs(chroma_of(mine) - chroma_of(theirs)) for mine, theirs in pairs]))
    return Verification(
        # Not Python's max, which can miss a NaN.
        maximum=float(np.max([difference.max() for difference in differences])),
        mean=float(np.mean([difference.mean() for difference in differences])),
        colorings=sum(len(case.answer) for case in expected),
        shapes=tuple((len(case.answer), *case.inputs["lightness"].shape[2:]) for case in expected),
    )


def require(found: Verification, precision: str, tolerances: Mapping[str, float] = TOLERANCES) -> None:
    """Check that a graph is within the tolerance of its precision. Raises VerificationError."""
    # Written so that NaN does not pass.
    if not found.maximum <= tolerances[precision]:
        raise VerificationError(
            f"The {precision} graph's a*, b* differ from the network's by up to {found.maximum:.3g} "
            f"(mean {found.mean:.3g}) on {found.colorings} photographs; {tolerances[precision]:g} is allowed, "
            "so no file was written."
        )


def cpu_session(content: bytes) -> Any:
    """Load a serialized model in ONNX Runtime on the CPU. Raises VerificationError if it fails."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise VerificationError(f"ONNX Runtime cannot load the exported graph: {first}.") from error
