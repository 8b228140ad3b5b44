"""ONNX files built by hand instead of from a network, so that their metadata and outputs are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, TensorProto, helper

from colorcli.networks.size import SizeRule
from colorcli.sessions import onnx_file
from colorcli.sessions.onnx_file import Header

HEADER = Header(
    "toy@lite", "toy", "ab" * 32, version="2", licence="CC0", controls=("z", "class_index"), size_rule=SizeRule(64, 16)
)
Write = Callable[..., Path]


def toy() -> ModelProto:
    """A graph whose a* is L* plus the first number of z, and whose b* is the class."""
    number = TensorProto.FLOAT
    given = [
        helper.make_tensor_value_info("lightness", number, ["n", 1, "h", "w"]),
        helper.make_tensor_value_info("z", number, ["n", 68]),
        helper.make_tensor_value_info("class_index", TensorProto.INT64, ["n"]),
    ]
    nodes = [
        helper.make_node("Gather", ["z", "first"], ["code"], axis=1),
        helper.make_node("Add", ["lightness", "code"], ["a"]),
        helper.make_node("Cast", ["class_index"], ["number"], to=number),
        helper.make_node("Reshape", ["number", "column"], ["tall"]),
        helper.make_node("Mul", ["lightness", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "tall"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["chroma"], axis=1),
    ]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [1, 1, 1], [0]),
        helper.make_tensor("column", TensorProto.INT64, [4], [-1, 1, 1, 1]),
        helper.make_tensor("zero", number, [1], [0.0]),
    ]
    answer = [helper.make_tensor_value_info("chroma", number, ["n", 2, "h", "w"])]
    graph = helper.make_graph(nodes, "toy", given, answer, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a model as an export would; keyword arguments change its header."""

    def to_file(model: ModelProto | None = None, name: str = "toy.onnx", **changes: Any) -> Path:
        made = toy() if model is None else model
        digest = onnx_file.graph_sha256(made.SerializeToString())
        for key, value in replace(HEADER, **{"graph_sha256": digest, **changes}).to_metadata().items():
            made.metadata_props.add(key=key, value=value)
        path = tmp_path / name
        path.write_bytes(made.SerializeToString())
        return path

    return to_file
