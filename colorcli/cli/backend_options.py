"""The options for running a network, shared by every command that runs one."""

from __future__ import annotations

from typing import Annotated

import typer

Backend = Annotated[
    str, typer.Option(help="auto, pytorch or onnx; auto means ONNX Runtime for many photographs on a CPU.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Let PyTorch compile the network first; pays off in runs of hours.")
]
