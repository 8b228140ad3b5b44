"""Exporting a model as one file: its contents, and the cases in which the export is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image
from skimage import data

from colorcli.color.spaces import lightness_to_gray
from colorcli.errors import ModelError, OutputError, UsageError, VerificationError
from colorcli.export import exporter, graph, verification
from colorcli.export.exporter import ExportOptions, export
from colorcli.export.precision import _choices
from colorcli.images.read import Photo, read_photo
from colorcli.pipeline.coloring import color
from colorcli.pipeline.controls import complete
from colorcli.pipeline.opening import open_model
from colorcli.registry import registry
from colorcli.registry.card import ModelCard

pytestmark = pytest.mark.slow


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of two photographs and a broken file."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[::2, ::2]).save(folder / f"{name}.png")
    (folder / "broken.jpg").write_bytes(b"not a photograph")
    return folder


def test_the_file_is_the_model(small: ModelCard, tmp_path: Path) -> None:
    """The model's name, licence and sizes must be readable from the file alone."""
    made = export(small, tmp_path / "small.onnx")
    card = registry.find(str(made.path))
    assert (card.exact_name, card.system, card.licence) == ("small@lite", "small", "CC0")
    assert (card.size, card.controls, card.weights_sha256) == (small.size, small.controls, small.weights_sha256)
    assert made.header.parameters == 16 * 9 + 16 + 2 * 16 * 9 + 2 and (made.header.multiply_adds or 0) > 0
    assert made.verification.maximum < 1e-3 and made.verification.colorings == 6
    assert {shape[0] for shape in made.verification.shapes} == {1, 2, 3}
    assert len({shape[1:] for shape in made.verification.shapes}) == 3
    graph = onnx.load(made.path).graph
    names = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input]
    assert names == [["batch", 1, "height", "width"], ["batch", 68], ["batch"]]
    session, network = open_model(str(made.path), device="cpu"), open_model(small, device="cpu")
    lightness = np.linspace(0, 100, 3 * 32 * 80, dtype=np.float32).reshape(3, 1, 32, 80)
    controls: dict[str, Any] = {"z": np.ones((3, 68), np.float32), "class_index": np.array([-1, 4, 900])}
    assert np.abs(session.chroma(lightness, controls) - network.chroma(lightness, controls)).max() < 1e-3
    neutral = complete(small.controls, {}, lightness)
    assert np.abs(session.chroma(lightness, neutral) - network.chroma(lightness)).max() < 1e-3


def test_a_network_whose_picture_is_enlarged_answers_with_it(picture: ModelCard, tmp_path: Path) -> None:
    """Otherwise DeOldify's colours would differ after export."""
    made = export(picture, tmp_path / "picture.onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(made.path).metadata_props}
    assert metadata["colorcli.format"] == "2", "versions that expect chroma must recognise the file and refuse it"
    session, network = open_model(str(made.path), device="cpu"), open_model(picture, device="cpu")
    assert session.info.size_rule == network.info.size_rule == picture.size
    lightness = np.random.default_rng(0).uniform(0, 100, (2, 1, 32, 48)).astype(np.float32)
    answer = session.chroma(lightness)
    assert answer.shape == (2, 3, 32, 48) and answer.min() == 0 and 0.9 < answer.max() <= 1
    assert np.abs(answer - network.chroma(lightness)).max() < 1e-5
    pixels = np.random.default_rng(1).integers(40, 200, (150, 90), np.uint8)
    mine, theirs = (color(one, pixels, {}).pixels.astype(int) for one in (session, network))
    assert np.abs(mine - theirs).max() <= 2 and np.ptp(mine, axis=2).max() > 5


def test_a_file_that_differs_is_not_left(small: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a faulty exporter or runtime would change the colours of all photographs unnoticed."""
    folder = tmp_path / "out"
    folder.mkdir()
    for bound in (-1.0, float("nan")):
        monkeypatch.setitem(verification.TOLERANCES, "fp32", bound)
        with pytest.raises(VerificationError, match="no file was written"):
            export(small, folder / "small.onnx")
    assert list(folder.iterdir()) == []


def test_a_graph_is_compared_on_photographs_resized_as_its_rule_says(small: ModelCard) -> None:
    """DeOldify rounds its gray to 8 bits: between two code values, a graph may rightly take the other one."""
    network = registry.build(small, registry.read_weights(small))
    rule = replace(small.size, resize="bilinear-8-luma")
    for case in verification.ask(network, small.controls, rule, verification.bundled_photographs()):
        codes = lightness_to_gray(case.inputs["lightness"]) * 255
        np.testing.assert_allclose(codes, np.rint(codes), atol=0.01)


def test_a_graph_that_answers_nan_does_not_pass(small: ModelCard) -> None:
    """Otherwise one photograph in six could come out without colours, from a file reported as exact."""
    network = registry.build(small, registry.read_weights(small))
    network.prepare()
    content = graph.trace(network, small.controls, small.size).SerializeToString()
    expected = verification.ask(network, small.controls, small.size, verification.bundled_photographs())
    for place in range(len(expected)):
        broken = list(expected)
        broken[place] = replace(expected[place], answer=expected[place].answer * np.nan)
        with pytest.raises(VerificationError, match="nan"):
            verification.require(verification.compare(content, broken), "fp32")


def test_a_folder_of_scans_is_not_held_in_memory(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise calibrating on 64 scans of 24 megapixels would take gigabytes."""
    read: list[Path] = []

    def reading(path: Path) -> Photo:
        read.append(path)
        return read_photo(path)

    monkeypatch.setattr(verification, "read_photo", reading)
    folder = verification.read_folder(photographs)
    assert next(folder).shape == (150, 226, 3) and len(read) == 2, "only the broken file and the first photograph"
    assert len(list(folder)) == 1


def test_what_is_there_stays(small: ModelCard, tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--overwrite"):
        export(small, target)
    assert target.read_bytes() == b"precious"
    with pytest.raises(OutputError, match="does not exist"):
        export(small, tmp_path / "nowhere" / "small.onnx")
    longest = tmp_path / f"{'ä' * 125}.onnx"
    assert export(small, longest).path == longest and len(longest.name.encode()) == 255


def test_smaller_files_are_other_weights(small: ModelCard, tmp_path: Path, photographs: Path) -> None:
    half = export(small, tmp_path / "half.onnx", ExportOptions("fp16"))
    # The tolerance is wide, because every one of the network's few weights matters.
    eight = export(small, tmp_path / "eight.onnx", ExportOptions("int8", calibrate=photographs))
    assert half.verification.maximum < 1 and eight.verification.maximum < 3 and "layers in 8 bits" in eight.note
    assert len({small.weights_sha256, half.header.identity, eight.header.identity}) == 3
    types = {value.type.tensor_type.elem_type for value in onnx.load(half.path).graph.output}
    assert types == {onnx.TensorProto.FLOAT}
    operators = {node.op_type for node in onnx.load(eight.path).graph.node}
    assert "QuantizeLinear" in operators and {node.domain for node in onnx.load(eight.path).graph.node} <= {
        "",
        "ai.onnx",
    }
    for made in (half, eight):
        lightness = np.full((1, 1, 64, 96), 50, np.float32)
        neutral = complete(small.controls, {}, lightness)
        assert open_model(str(made.path), device="cpu").chroma(lightness, neutral).std() > 0


def test_one_size_only(small: ModelCard, tmp_path: Path) -> None:
    """If the file did not record its fixed size, it would fail on the first photograph."""
    made = export(small, tmp_path / "small.onnx", ExportOptions(size=96))
    rule = registry.find(str(made.path)).size
    assert (rule.fixed, rule.working_shape(300, 500)) == (True, (96, 96))
    assert made.header.identity != small.weights_sha256, "stretching changes the colours, so it is another model"
    with pytest.raises(UsageError, match="multiples of 16"):
        export(small, tmp_path / "other.onnx", ExportOptions(size=100))


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("x.onnx", ExportOptions("fp64"), "not 'fp64'"),
        ("x.onnx", ExportOptions("int8"), "--calibrate"),
        ("x.onnx", ExportOptions(opset=11), "--opset must be from 18"),
        ("x.pt", ExportOptions(), "must end in .onnx"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(
    small: ModelCard, tmp_path: Path, name: str, options: ExportOptions, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        export(small, tmp_path / name, options)
    copy = replace(small, weights_file="x.onnx", reference="x.onnx")
    with pytest.raises(UsageError, match="is an ONNX file already"):
        exporter.export(copy, tmp_path / "y.onnx")


def test_an_empty_folder_calibrates_nothing(small: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no photograph"):
        export(small, tmp_path / "x.onnx", ExportOptions("int8", calibrate=tmp_path / "empty"))


def test_a_sensitive_network_gets_its_largest_layers_in_8_bits() -> None:
    """Two bundled models could not be exported in 8 bits: quantizing even half of their layers changed the colours."""
    layers = {"first": 10, "decides": 1000, "a": 500, "b": 20, "c": 700, "d": 30, "last": 5}
    choices = list(_choices(layers, {"decides"}))
    assert choices[0] == list(layers) and choices[-1] == ["a", "c"], "in the graph's order"
    assert not any("decides" in choice for choice in choices[1:])
    assert sorted(choices, key=len, reverse=True)[0] == choices[0] and len(choices) == len({*map(tuple, choices)})


def test_operators_of_one_runtime_alone_are_refused() -> None:
    """Otherwise the file would run on ONNX Runtime only."""
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    node = helper.make_node("FusedGelu", ["x"], ["y"], domain="com.microsoft")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=opsets)
    with pytest.raises(ModelError, match=r"not ONNX's own: com\.microsoft\.FusedGelu"):
        graph.check(model)
