"""The metadata of ONNX files, which may come from anywhere and so must be checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, TensorProto, helper

from colorcli.errors import ModelError
from colorcli.sessions import onnx_file

from .conftest import HEADER, Write, toy


def _outside(model: ModelProto, location: str, *, inside_branch: bool = False) -> ModelProto:
    """The model with a tensor stored in another file, optionally in a branch's constant."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    if not inside_branch:
        model.graph.initializer.append(tensor)
        return model
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    return model


def test_a_header_comes_back_as_it_was_written(write: Write) -> None:
    """Otherwise a model could lose its licence, or get photographs at a size that it was not made for."""
    found = onnx_file.check(write(verification={"maximum": 0.001}, backbones={"E": {"name": "x", "sha256": "1"}}))
    assert found.verification == {"maximum": 0.001} and found.backbones["E"]["name"] == "x"
    assert (found.name, found.controls, found.size_rule) == (HEADER.name, HEADER.controls, HEADER.size_rule)
    assert (found.licence, found.version, found.precision) == ("CC0", "2", "fp32")


@pytest.mark.parametrize("inside_branch", [False, True])
@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "a/../../secret", "C:\\secret", "..\\secret", "link/x"])
def test_weights_outside_the_folder_are_refused(write: Write, tmp_path: Path, place: str, inside_branch: bool) -> None:
    """Otherwise a downloaded model could read any of the user's files as weights."""
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(ModelError, match="outside its folder"):
        onnx_file.check(write(_outside(toy(), place, inside_branch=inside_branch)))


def test_weights_inside_the_folder_are_taken(write: Write) -> None:
    assert onnx_file.check(write(_outside(toy(), "weights.bin"))).name == HEADER.name


def test_a_file_cut_short_anywhere_is_a_sentence(write: Write, tmp_path: Path) -> None:
    """Otherwise an interrupted copy would give a traceback or, worse, load."""
    content = write().read_bytes()
    torn = tmp_path / "torn.onnx"
    for length in range(0, len(content), 7):
        torn.write_bytes(content[:length])
        with pytest.raises(ModelError):
            onnx_file.check(torn)


def test_a_graph_that_was_changed_is_refused(write: Write) -> None:
    """The accuracy stated in the file was measured with the original graph."""
    path = write()
    content = path.read_bytes()
    assert content.count(b"Mul") == 1
    path.write_bytes(content.replace(b"Mul", b"Sub"))
    with pytest.raises(ModelError, match="damaged"):
        onnx_file.check(path)


def test_files_that_are_not_ours_say_so(write: Write, tmp_path: Path) -> None:
    """Otherwise any ONNX file would be given lightness, and its output be taken for chroma."""
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(toy().SerializeToString())
    with pytest.raises(ModelError, match="was not exported by colorcli"):
        onnx_file.read_header(foreign)
    foreign.write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    with pytest.raises(ModelError, match="not an ONNX file"):
        onnx_file.read_header(foreign)
    with pytest.raises(ModelError, match="cannot be read"):
        onnx_file.read_header(tmp_path / "absent.onnx")
    newer = write()
    newer.write_bytes(newer.read_bytes().replace(b"colorcli.format\x12\x011", b"colorcli.format\x12\x019"))
    with pytest.raises(ModelError, match="update colorcli"):
        onnx_file.read_header(newer)


@pytest.mark.parametrize(
    "changes",
    [{"multiply_adds": "many"}, {"controls": 5}, {"backbones": ["vgg16"]}, {"source": None}, {"own_sizes": "yes"}],
)
def test_metadata_of_another_kind_are_damage(write: Write, changes: dict[str, Any]) -> None:
    """Otherwise an unexpected TypeError would follow later, instead of a sentence that names the file."""
    path = write()
    damaged = {key: json.dumps(value) for key, value in changes.items()}
    model = toy()
    for key, value in {**HEADER.to_metadata(), **{f"colorcli.{key}": text for key, text in damaged.items()}}.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="incomplete or damaged"):
        onnx_file.read_header(path)


def test_other_colours_have_another_identity(write: Write) -> None:
    """Otherwise a run in 8 bits could be resumed in full precision, and its outputs would differ unnoticed."""
    assert onnx_file.check(write()).identity == HEADER.weights_sha256
    for changes in ({"precision": "int8"}, {"precision": "fp16"}, {"own_sizes": False}):
        found = onnx_file.check(write(**changes))
        assert found.identity == found.graph_sha256 != HEADER.weights_sha256
