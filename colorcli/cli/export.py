"""``colorcli export``: a model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from colorcli.cli import output as data
from colorcli.cli.completion import complete_model
from colorcli.errors import UsageError


def export(
    model: Annotated[
        str, typer.Argument(help="Name, run folder or weights file.", autocompletion=complete_model)
    ] = "bigcolor",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.onnx", help="File to write. [default: NAME.onnx]")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16, or int8 (with --calibrate).")] = "fp32",
    size: Annotated[
        int | None, typer.Option(help="Fix the input size to N x N, for devices that need it.", min=32)
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Accept every size that the model accepts (the default).")
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Photographs that int8 is calibrated and verified on."),
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset, 18 to 23.")] = 18,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
) -> None:
    """Write a model as one ONNX file, which 'colorize --model FILE.onnx' runs without PyTorch.

    The file is compared with the network on photographs, and kept only if their colours agree: a*, b* within 0.1
    (fp32), 1 (fp16) or 3 (int8).
    """
    if dynamic and size is not None:
        raise UsageError("--size and --dynamic exclude each other; give one of them.")
    from colorcli.registry.registry import find

    card = find(model)
    target = output or Path(f"{card.exact_name}{'' if precision == 'fp32' else f'-{precision}'}.onnx")
    from colorcli.export import exporter

    options = exporter.ExportOptions(precision, size, opset, calibrate, overwrite)
    with data.waiting(f"Exporting {card.exact_name}", quiet=quiet):
        made = exporter.export(card, target, options, (lambda _: None) if quiet else data.note)
    if json:
        data.emit(
            "export.done",
            path=str(made.path),
            bytes=made.size,
            model=made.header.name,
            weights_sha256=made.header.weights_sha256,
            precision=precision,
            note=made.note,
            **made.verification.record(),
        )
    if not quiet:
        found = made.verification
        data.note(
            f"{made.path}: {made.size / 1e6:.1f} MB, {precision}{f', {made.note}' if made.note else ''}; on "
            f"{found.colorings} photographs a*, b* differ from the network's by at most {found.maximum:.2g}, "
            f"on average by {found.mean:.2g}."
        )
