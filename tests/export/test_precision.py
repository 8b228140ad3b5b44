"""Graphs with weights in half precision."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from colorcli.export.precision import with_half_weights


def test_large_weights_are_stored_in_half_and_the_arithmetic_stays_full() -> None:
    """With fp16 arithmetic the default model would be refused: rounding in each layer changes its colours."""
    rng = np.random.default_rng(0)
    large, small = rng.standard_normal((64, 64)).astype(np.float32), rng.standard_normal(64).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])],
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(large, "w"), numpy_helper.from_array(small, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    half = with_half_weights(model)
    onnx.checker.check_model(half, full_check=True)
    assert half.ByteSize() < 0.6 * model.ByteSize()
    x = rng.standard_normal((1, 64)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(half.SerializeToString()).run(None, {"x": x})
    assert np.allclose(found, x @ large.astype(np.float16).astype(np.float32) + small, rtol=0, atol=1e-5)
