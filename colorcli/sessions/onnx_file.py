"""What an ONNX file says of itself, read without any runtime: the model's identity, and where its weights are.

Only the outermost layers of the file's Protocol Buffers are walked, and tensors are stepped over; so the answer comes
at once, and nothing that the file asks for is done.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from colorcli.errors import ModelError
from colorcli.networks.size import SizeRule

FORMAT = 2
"""Of the metadata and of the graph's inputs and outputs; a reader refuses a newer one. A graph that answers with chroma
has format 1, which every version reads; since format 2 there are graphs that answer with RGB, by their size rule."""

_PREFIX = "colorcli."
_NAMES = ("name", "system", "version", "licence", "preset", "weights_sha256", "precision", "software", "graph_sha256")
_TABLES = {"controls": list, "size_rule": dict, "backbones": dict, "source": dict, "verification": dict}
_NUMBERS = ("parameters", "multiply_adds")

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_FUNCTION_NODE = 7
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_EXTERNAL = 13


@dataclass(frozen=True)
class Header:
    """The identity of an exported model, as its metadata holds it.

    Attributes:
        name: exact name of the model that was exported, such as ``bigcolor@lite``.
        system: the paper's system; ``version``, ``licence``, ``preset``, ``controls``, ``size_rule``, ``source`` and
            ``backbones`` (by part: name and sha256) likewise as in the model's card.
        weights_sha256: hexadecimal SHA-256 of the weights file that was exported.
        precision: ``fp32``, ``fp16`` or ``int8``.
        software: what wrote the file.
        graph_sha256: hexadecimal SHA-256 of the graph as it was written.
        own_sizes: whether the graph takes every size that the model takes.
        parameters: numbers that the network holds; None where not counted.
        multiply_adds: of one square photograph at the working size.
        verification: how far the graph's a*, b* are from the network's: ``maximum``, ``mean``, and on what.
    """

    name: str
    system: str
    weights_sha256: str
    version: str = ""
    licence: str = ""
    preset: str = ""
    controls: tuple[str, ...] = ()
    size_rule: SizeRule = field(default_factory=SizeRule)
    backbones: dict[str, dict[str, str]] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    software: str = ""
    graph_sha256: str = ""
    own_sizes: bool = True
    parameters: int | None = None
    multiply_adds: int | None = None
    verification: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What journals know the weights by: those of the model, if its colours come out to within one code value.

        Weights in half precision or eight bits, and photographs stretched to a size that is not the model's, give
        other colours: such a file goes by the hash of its graph.
        """
        return self.weights_sha256 if self.precision == "fp32" and self.own_sizes else self.graph_sha256

    def to_metadata(self) -> dict[str, str]:
        """The header as ``metadata_props`` of the model."""
        values = asdict(self)
        texts = {key: values[key] for key in _NAMES}
        tables = {key: json.dumps(values[key], sort_keys=True) for key in (*_TABLES, *_NUMBERS, "own_sizes")}
        form = FORMAT if self.size_rule.in_rgb else 1
        return {f"{_PREFIX}{key}": value for key, value in {"format": str(form), **texts, **tables}.items()}


@dataclass(frozen=True)
class _File:
    metadata: dict[str, str]
    graph: memoryview
    external: tuple[str, ...]


def read_header(path: Path) -> Header:
    """The identity of an exported model.

    Raises:
        ModelError: the file cannot be read, is not an ONNX file, was not exported by this program, or by a newer one.
    """
    return _header(_walked(path).metadata, path)


def check(path: Path) -> Header:
    """``read_header``, after making sure that the graph is as it was written and keeps to its own folder.

    Raises:
        ModelError: also where the graph was changed or damaged, or has weights in files outside the model's folder.
    """
    file = _walked(path)
    header = _header(file.metadata, path)
    for name in file.external:
        _check_place(name, path)
    if hashlib.sha256(file.graph).hexdigest() != header.graph_sha256:
        raise ModelError(f"The ONNX file {path} is damaged, or was changed after its export; export it again.")
    return header


def graph_sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of the graph in a serialized model."""
    return hashlib.sha256(_walk(memoryview(content)).graph).hexdigest()


def external_files(content: bytes) -> tuple[str, ...]:
    """The names of all files outside a serialized model that it takes tensors from."""
    return _walk(memoryview(content)).external


def _walked(path: Path) -> _File:
    try:
        with path.open("rb") as handle:
            content = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        # An empty file cannot be mapped.
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise ModelError(f"The ONNX file {path} cannot be read: {reason}.") from error
    try:
        return _walk(memoryview(content))
    except (ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"{path} is not an ONNX file, or is damaged; export the model again.") from error


def _header(metadata: Mapping[str, str], path: Path) -> Header:
    found = {key.removeprefix(_PREFIX): value for key, value in metadata.items() if key.startswith(_PREFIX)}
    version = found.get("format", "")
    if not version.isdecimal():
        raise ModelError(
            f"{path} was not exported by colorcli, so its inputs and outputs are unknown; make it with colorcli export."
        )
    if int(version) > FORMAT:
        raise ModelError(f"{path} has the format {version}, and this colorcli knows up to {FORMAT}: update colorcli.")
    try:
        values: dict[str, Any] = {key: found[key] for key in _NAMES}
        values |= {key: _as_json(found[key], kind) for key, kind in _TABLES.items()}
        values |= {key: _as_json(found[key], int | None) for key in _NUMBERS}
        values["own_sizes"] = _as_json(found["own_sizes"], bool)
        values["controls"] = tuple(values["controls"])
        values["size_rule"] = SizeRule(**values["size_rule"])
        return Header(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The metadata of {path} is incomplete or damaged; export the model again.") from error


def _as_json(text: str, kind: Any) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise TypeError(f"{text} is not of the type {kind}")
    return value


def _check_place(name: str, path: Path) -> None:
    folder = path.parent.resolve()
    relative = not Path(name).is_absolute() and not PureWindowsPath(name).anchor and "\\" not in name
    if not relative or not (folder / name).resolve().is_relative_to(folder):
        raise ModelError(f"{path} refers to weights outside its folder ({name}), which is refused.")


def _walk(model: memoryview) -> _File:
    metadata: dict[str, str] = {}
    graph: memoryview | None = None
    external: list[str] = []
    for number, value in _fields(model):
        if number == _MODEL_GRAPH:
            graph = value
            external += _of_graph(value)
        elif number == _MODEL_FUNCTIONS:
            external += [name for node in _all(value, _FUNCTION_NODE) for name in _of_node(node)]
        elif number == _MODEL_METADATA:
            key, text = _pair(value)
            metadata[key] = text
    if graph is None:
        raise ValueError("no graph")
    return _File(metadata, graph, tuple(dict.fromkeys(external)))


def _of_graph(graph: memoryview) -> list[str]:
    names = []
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            names += _of_node(value)
        elif number == _GRAPH_INITIALIZER:
            names += _of_tensor(value)
        elif number == _GRAPH_SPARSE:
            names += _of_sparse(value)
    return names


def _of_node(node: memoryview) -> list[str]:
    names = []
    for attribute in _all(node, _NODE_ATTRIBUTE):
        for number, value in _fields(attribute):
            if number in _ATTRIBUTE_TENSORS:
                names += _of_tensor(value)
            elif number in _ATTRIBUTE_GRAPHS:
                names += _of_graph(value)
            elif number in _ATTRIBUTE_SPARSE:
                names += _of_sparse(value)
    return names


def _of_sparse(sparse: memoryview) -> list[str]:
    return [name for number in (1, 2) for tensor in _all(sparse, number) for name in _of_tensor(tensor)]


def _of_tensor(tensor: memoryview) -> list[str]:
    entries = dict(_pair(entry) for entry in _all(tensor, _TENSOR_EXTERNAL))
    return [entries.get("location", "")] if entries else []


def _pair(entry: memoryview) -> tuple[str, str]:
    values = {number: bytes(value).decode("utf-8", "replace") for number, value in _fields(entry)}
    return values.get(1, ""), values.get(2, "")


def _all(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, value in _fields(message) if number == wanted)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The numbers and contents of a message's length-delimited fields; the others are stepped over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("not a Protocol Buffer")
        if at + length > len(message):
            raise ValueError("cut short")
        if kind == 2:
            yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not a Protocol Buffer")
