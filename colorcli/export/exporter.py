"""Exports a model as one ONNX file: trace, shrink, compare with the network, describe, and only then write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import colorcli
from colorcli.errors import ModelError, OutputError, UsageError
from colorcli.export import graph, verification
from colorcli.export.verification import Verification
from colorcli.files import write_atomically
from colorcli.images.resize import working_lightness
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.sessions import onnx_file
from colorcli.text import Notify

if TYPE_CHECKING:
    from onnx import ModelProto

PRECISIONS = tuple(verification.TOLERANCES)
_MOST_CALIBRATION = 64


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        size: side in pixels of a fixed square input; None: all sizes that the model takes.
        opset: ONNX operator set version.
        calibrate: folder of photographs for calibrating ``int8`` and for verification; None: verify on those that ship
            with scikit-image.
        overwrite: whether to replace a file.
    """

    precision: str = "fp32"
    size: int | None = None
    opset: int = graph.OPSET
    calibrate: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """An exported file: path, header, verification, size in bytes, and a note on how it was shrunk."""

    path: Path
    header: onnx_file.Header
    verification: Verification
    size: int
    note: str = ""


def export(
    card: ModelCard, target: Path, options: ExportOptions = ExportOptions(), notify: Notify = lambda _: None
) -> Exported:
    """Write a model as an ONNX file. The file appears only if it is within the tolerance of its precision.

    Args:
        card: of the model.
        target: the file.
        options: of the export.
        notify: called with each step.

    Raises:
        UsageError: the options make no sense for this model.
        ModelError: the model cannot be loaded or exported, or a package is missing.
        VerificationError: the graph differs too much from the network.
        OutputError: the file exists or cannot be written.
    """
    rule = _check(card, target, options)
    network = registry.build(card, registry.read_weights(card))
    network.prepare()
    given = verification.bundled_photographs()
    if options.calibrate is not None:
        given = list(islice(verification.read_folder(options.calibrate), verification.COLORINGS))
    notify(f"Exporting {card.reference or card.exact_name}…")
    traced = graph.trace(network, card.controls, rule, options.opset)
    notify("Comparing it with the network…")
    expected = verification.ask(network, card.controls, rule, given)
    header = _describe(card, network, rule, options)
    note, content, found = "", b"", None
    for note, model in _variants(traced, options, card, rule):
        content = _finished(model, header)
        found = verification.compare(content, expected)
        if found.maximum <= verification.TOLERANCES[options.precision]:
            break
        if note:
            notify(f"{note}: differs by up to {found.maximum:.3g}")
    if found is None:
        raise ModelError("The graph has no layer that can be quantized to 8 bits.")
    verification.require(found, options.precision)
    header = dataclasses.replace(header, verification=found.record(), graph_sha256=onnx_file.graph_sha256(content))
    content = _with_metadata(content, header.to_metadata())
    _write(target, content, overwrite=options.overwrite)
    return Exported(target, onnx_file.check(target), found, len(content), note)


def _check(card: ModelCard, target: Path, options: ExportOptions) -> SizeRule:
    """Check the options; returns the sizes that the graph will take."""
    if card.is_onnx:
        raise UsageError(f"{card.reference} is an ONNX file already; give the model that it was exported from.")
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"The output must end in .onnx: {target}")
    if options.precision not in PRECISIONS:
        raise UsageError(f"--precision must be {', '.join(PRECISIONS)}, not '{options.precision}'.")
    if options.precision == "int8" and options.calibrate is None:
        raise UsageError("int8 needs photographs to calibrate with: --calibrate FOLDER.")
    if options.opset not in graph.OPSETS:
        raise UsageError(f"--opset must be from {graph.OPSETS[0]} to {graph.OPSETS[-1]}, not {options.opset}.")
    if not options.overwrite and target.exists():
        raise OutputError(f"{target} exists; --overwrite replaces it.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder {target.parent} does not exist; make it first.")
    rule, size = card.size, options.size
    if size is None:
        return rule
    if size % rule.multiple_of or (rule.fixed and size != rule.size):
        takes = f"{rule.size} pixels only" if rule.fixed else f"multiples of {rule.multiple_of}"
        raise UsageError(f"{card.exact_name} takes {takes}, not {size}.")
    return dataclasses.replace(rule, size=size, fixed=True)


def _describe(card: ModelCard, network: Colorizer, rule: SizeRule, options: ExportOptions) -> onnx_file.Header:
    return onnx_file.Header(
        name=card.exact_name,
        system=card.system,
        weights_sha256=card.weights_sha256,
        version=card.version,
        licence=card.licence,
        preset=card.preset,
        controls=card.controls,
        size_rule=rule,
        backbones={part: dataclasses.asdict(shared) for part, shared in card.backbones.items()},
        source=dict(card.source),
        precision=options.precision,
        software=f"colorcli {colorcli.__version__}, PyTorch {torch.__version__}",
        own_sizes=rule == card.size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=_multiply_adds(network, card, rule),
    )


def _multiply_adds(network: Colorizer, card: ModelCard, rule: SizeRule) -> int:
    """Of convolutions and matrix products, for one square photograph at the working size."""
    import numpy as np

    given = verification.network_inputs([np.full(rule.working_shape(1, 1), 50, np.float32)], card.controls)
    inputs: dict[str, Any] = {name: torch.from_numpy(value) for name, value in given.items()}
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.answering(rule)(inputs.pop("lightness"), **inputs)
    return int(counter.get_total_flops()) // 2


def _variants(
    traced: ModelProto, options: ExportOptions, card: ModelCard, rule: SizeRule
) -> Iterable[tuple[str, ModelProto]]:
    """Candidate graphs of a precision, in order of preference, each with a note on how it was made."""
    if options.precision == "fp32":
        return [("", traced)]
    from colorcli.export.precision import to_half, to_int8, with_half_weights

    if options.precision == "fp16":
        # If rounding in every layer changes colours: half the size, but no faster.
        makers = {
            "all of it in half precision": to_half,
            "large weights alone in half precision": with_half_weights,
        }
        return ((note, make(traced)) for note, make in makers.items())
    assert options.calibrate is not None  # int8 is refused without
    inputs = []
    for number, pixels in enumerate(islice(verification.read_folder(options.calibrate), _MOST_CALIBRATION)):
        lightness = working_lightness(pixels, *rule.working_shape(pixels.shape[0], pixels.shape[1]), rule.resize)
        inputs.append(verification.network_inputs([lightness], card.controls, first=number))
    return to_int8(traced, inputs)


def _finished(model: ModelProto, header: onnx_file.Header) -> bytes:
    """A graph optimized, checked and serialized, with a description for other programs."""
    from colorcli.export.rewriting import rewrite

    rewrite(model)
    model.producer_name, model.producer_version = "colorcli", colorcli.__version__
    answer = "sRGB 0..1 (batch, 3, h, w)" if header.size_rule.in_rgb else "CIELAB a*, b* (batch, 2, h, w)"
    model.doc_string = (
        f"{header.name}: CIE L* 0..100 (batch, 1, height, width) to {answer}. "
        f"Licence of the weights: {header.licence or 'not stated'}"
    )
    graph.check(model)
    content: bytes = model.SerializeToString()
    if onnx_file.external_files(content):
        raise ModelError("The exported graph keeps weights outside its file.")
    return content


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Append metadata to a serialized model, which Protocol Buffers allow, leaving the graph's bytes unchanged."""
    import onnx

    model = onnx.ModelProto()
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return content + bytes(model.SerializeToString())


def _write(target: Path, content: bytes, *, overwrite: bool) -> None:
    if not overwrite and target.exists():  # it may have appeared meanwhile
        raise OutputError(f"{target} exists; --overwrite replaces it.")
    try:
        write_atomically(target, content)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
