"""Traces a network into an ONNX graph with the full contract: lightness and controls in, chroma or RGB out."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from colorcli.errors import ModelError
from colorcli.images.tiles import Windows
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.pipeline.controls import controls as declared
from colorcli.pipeline.controls import examples

if TYPE_CHECKING:
    from onnx import ModelProto

OPSETS = range(18, 24)
OPSET = 18
"""The oldest that PyTorch's exporter writes by itself, and so the one that most runtimes read."""

INSTALL = "pip install onnx onnxscript"

_SIDES = ("batch", None, "height", "width")
_DOMAINS = ("", "ai.onnx")
LARGEST = 2**31 - 1


class _Contract(nn.Module):
    def __init__(self, network: Colorizer, controls: tuple[str, ...], rule: SizeRule) -> None:
        super().__init__()
        self.network, self.controls, self.rule = network, controls, rule

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.network.answering(self.rule)(inputs[0], **dict(zip(self.controls, inputs[1:], strict=True)))


def trace(network: Colorizer, controls: tuple[str, ...], rule: SizeRule, opset: int = OPSET) -> ModelProto:
    """Trace a network that is prepared for inference.

    Its inputs are ``lightness`` float32 ``(batch, 1, height, width)``, CIE L* 0..100, and the ``controls``, each with
    the name, shape and type that ``pipeline.controls`` declares. Its output is ``chroma``, float32
    ``(batch, 2, h, w)``, CIELAB a* and b*; or, if the rule enlarges RGB, sRGB 0..1 ``(batch, 3, h, w)``.

    Args:
        network: on the CPU.
        controls: that become inputs.
        rule: sizes that the graph will take; a fixed size is built in.
        opset: ONNX operator set version.

    Raises:
        ModelError: the packages onnx and onnxscript are missing, or the network cannot be exported.
    """
    require_packages()
    dynamic = torch.export.Dim.DYNAMIC
    shapes: list[dict[int, Any]] = [{0: dynamic} if rule.fixed else {0: dynamic, 2: dynamic, 3: dynamic}]
    for one in declared(controls):
        sides = [axis for axis, side in enumerate(one.shape, 1) if isinstance(side, str) and not rule.fixed]
        shapes.append(dict.fromkeys((0, *sides), dynamic))
    names = ["lightness", *controls]
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                _Contract(network, controls, rule).eval(),
                _example(controls, rule),
                dynamo=True,
                opset_version=opset,
                input_names=names,
                output_names=["chroma"],
                dynamic_shapes=(tuple(shapes),),
                verbose=False,
            )
    except Exception as error:
        # The exporter buries the cause in pages of advice.
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        first = (str(reason).strip() or type(reason).__name__).split("\n")[0]
        raise ModelError(f"The network cannot be exported to ONNX: {first}.") from error
    model: ModelProto = program.model_proto
    _name_sides(model)
    return model


def require_packages() -> None:
    """Check that the packages for exporting are installed. Raises ModelError."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise ModelError(f"An export to ONNX needs packages that are missing ({error}): {INSTALL}.") from error


def check(model: ModelProto) -> None:
    """Check that any runtime can run the graph from one file: valid, standard operators only, below 2 GB.

    Raises:
        ModelError: it cannot.
    """
    import onnx

    if model.ByteSize() > LARGEST:
        raise ModelError("The network is too large for one ONNX file: more than 2 GB; try --precision fp16.")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"The exported graph is not valid ONNX: {error}") from error
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    custom = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _DOMAINS})
    if custom:
        raise ModelError(f"The exported graph has operators that are not ONNX's own: {', '.join(custom)}.")


def _example(controls: tuple[str, ...], rule: SizeRule) -> tuple[Tensor, ...]:
    # All sides differ and none is 1, or the exporter would merge them or make them constant.
    short = max(2, 128 // rule.multiple_of) * rule.multiple_of
    height, width = (rule.size, rule.size) if rule.fixed else (short, short + rule.multiple_of)
    seen = Windows((np.full((height, width), 50, np.float32),), (0,), width, 1)
    values = examples(controls, range(2), seen)
    return (torch.rand(2, 1, height, width) * 100, *(torch.from_numpy(values[name]) for name in controls))


def _name_sides(model: ModelProto) -> None:
    """Rename the symbols of the inputs' sides to readable names, in the outputs too."""
    given = model.graph.input[0].type.tensor_type.shape.dim
    names = {dim.dim_param: side for dim, side in zip(given, _SIDES, strict=True) if dim.dim_param and side}
    # Intermediate shapes would keep the old names; they can be inferred again.
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"[a-z]\w*", lambda found: names.get(found[0], found[0]), dim.dim_param)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
