"""Smaller graphs: half precision, and eight bits calibrated on photographs."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

# In half precision the colour formulas' powers lose shadows, and class scores tie.
_FULL = ("Pow", "ArgMax", "Softmax", "Exp", "ReduceMean")
_QUANTIZED = ("Conv", "Gemm", "MatMul")
_LARGEST_LAYERS = (8, 4, 2)
_LARGE = 4096

Inputs = dict[str, NDArray[Any]]


def to_half(model: ModelProto) -> ModelProto:
    """Convert weights and arithmetic to float16; inputs and output stay float32."""
    from onnxruntime.transformers import float16

    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *_FULL]
    half = float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)
    # The converter appends the inputs' casts at the end, where ONNX does not allow them.
    ordered = onnx_ir.from_proto(half)
    ordered.graph.sort()
    result: ModelProto = onnx_ir.to_proto(ordered)
    return result


def with_half_weights(model: ModelProto) -> ModelProto:
    """Store large weights in float16, with arithmetic in float32: half the size, little rounding.

    The first layers keep float32: they have few weights, and all later layers inherit their errors.
    """
    half = ModelProto()
    half.CopyFrom(model)
    casts = []
    for tensor in half.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) >= _LARGE:
            name, values = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT))
    nodes = list(half.graph.node)
    del half.graph.node[:]
    half.graph.node.extend([*casts, *nodes])
    return half


def to_int8(model: ModelProto, calibration: Sequence[Inputs]) -> Iterator[tuple[str, ModelProto]]:
    """Graphs with 8-bit convolutions and matrix products (static QDQ), from the smallest to the most exact.

    First all layers are quantized; then only those that the choice of a class does not depend on, since rounding can
    change the class, and with it the colours, of an ambiguous photograph. Then the last layers are spared too, whose
    errors are errors of colour, then the first, whose errors all others inherit. Finally only the few largest layers
    are quantized, which hold most of the weights.

    Yields:
        a description of the quantized layers, and the graph.
    """
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory(prefix="colorcli-") as folder:
        source, prepared, target = (Path(folder) / name for name in ("source.onnx", "prepared.onnx", "target.onnx"))
        onnx.save(model, source)
        with _silenced():
            quantization.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        weights = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
        layers = {
            node.name: sum(weights.get(given, 0) for given in node.input)
            for node in graph.node
            if node.op_type in _QUANTIZED
        }
        for chosen in _choices(layers, _deciding(graph)):
            with _silenced():
                quantization.quantize_static(
                    prepared,
                    target,
                    _Reader(calibration),
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=list(_QUANTIZED),
                    nodes_to_quantize=chosen,
                    per_channel=True,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    # Older x86 sums pairs of products in 16 bits, which full weights overflow: there the file would
                    # be less exact than it was found to be here.
                    reduce_range=True,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                )
            yield f"{len(chosen)} of {len(layers)} layers in 8 bits", onnx.load(target)


def _choices(layers: dict[str, int], deciding: set[str]) -> Iterator[list[str]]:
    """Layers to quantize, from most to fewest; ``layers`` maps names to numbers of weights."""
    free = [name for name in layers if name not in deciding]
    choices = [list(layers), free, free[:-2], free[len(free) // 4 : -2], free[len(free) // 2 : -2]]
    by_size = sorted(free, key=layers.__getitem__, reverse=True)
    choices += [[name for name in free if name in by_size[:count]] for count in _LARGEST_LAYERS]
    seen: list[list[str]] = []
    for chosen in choices:
        # To the quantizer, an empty list means all layers.
        if chosen and chosen not in seen:
            seen.append(chosen)
            yield chosen


def _deciding(graph: onnx.GraphProto) -> set[str]:
    """Names of all nodes that the graph's choice of a class depends on."""
    makers = {output: node for node in graph.node for output in node.output}
    names: set[str] = set()
    open_nodes = [node for node in graph.node if node.op_type == "ArgMax"]
    while open_nodes:
        node = open_nodes.pop()
        if node.name not in names:
            names.add(node.name)
            open_nodes += [makers[given] for given in node.input if given in makers]
    return names


class _Reader:
    """Calibration inputs for ONNX Runtime."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> Inputs | None:
        return next(self._inputs, None)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
