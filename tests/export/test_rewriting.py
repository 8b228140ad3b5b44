"""Graphs rewritten for speed compute the same numbers, including extreme ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from colorcli.export.rewriting import rewrite
from colorcli.export.verification import cpu_session

MATRIX = np.array([[0.4, 0.3, 0.2], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]], np.float32)


def _model(node: NodeProto) -> onnx.ModelProto:
    sides: list[str | int | None] = ["n", 3, "h", "w"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("x", "y")]
    constants = {"matrix": MATRIX, "broken": np.float32(2.4), "whole": np.float32(2), "many": np.ones(3, np.float32)}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [t for t in tensors if t.name in node.input])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "low", "high"),
    [
        ("Softmax", ["x"], {"axis": 1}, -500, 500),
        ("Pow", ["x", "broken"], {}, 0, 2),
        ("Einsum", ["matrix", "x"], {"equation": "ij,njhw->nihw"}, -1, 1),
    ],
)
def test_what_is_slow_is_said_otherwise(
    operator: str, inputs: list[str], attributes: dict[str, Any], low: float, high: float
) -> None:
    """Otherwise the rewriting would change colours, or save no time."""
    model = _model(helper.make_node(operator, inputs, ["y"], **attributes))
    x = np.random.default_rng(0).uniform(low, high, (2, 3, 20, 30)).astype(np.float32)
    x[0, :, 0, 0] = low
    before = cpu_session(model.SerializeToString()).run(["y"], {"x": x})[0]
    rewrite(model)
    assert operator not in _operators(model)
    onnx.checker.check_model(model, full_check=True)
    after = cpu_session(model.SerializeToString()).run(["y"], {"x": x})[0]
    assert np.allclose(before, after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("Softmax", ["x"], {"axis": 3}),
        ("Pow", ["x", "whole"], {}),
        ("Pow", ["x", "x"], {}),
        ("Einsum", ["matrix", "x"], {"equation": "ij,nihw->njhw"}),
    ],
)
def test_what_only_looks_alike_is_left_alone(operator: str, inputs: list[str], attributes: dict[str, Any]) -> None:
    """Rewriting these would be wrong: squares of negative numbers by logarithms, or a product with the transpose."""
    model = _model(helper.make_node(operator, inputs, ["y"], **attributes))
    before = model.SerializeToString()
    rewrite(model)
    assert model.SerializeToString() == before
