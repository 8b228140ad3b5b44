"""The interface through which every network is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from colorcli.networks.size import SizeRule

Controls = Mapping[str, NDArray[Any]]
"""Control values by control name; each array has one value per batch member."""

NO_CONTROLS: Controls = MappingProxyType({})


@dataclass(frozen=True)
class ModelInfo:
    """What the pipeline needs to know about a model, independent of the backend.

    Attributes:
        name: exact name, such as ``bigcolor@lite`` (or the path of a run folder or file).
        system: the paper's system, such as ``bigcolor``.
        weights_sha256: hexadecimal SHA-256 of the weights file.
        controls: names of the controls that the network takes; see ``pipeline.controls``.
        size_rule: the input sizes it takes.
        licence: one line.
        version: of the weights, from the card.
        backbones: SHA-256 of shared weights, by backbone.
        origin: for imported weights, whether they are the published file; else empty.
    """

    name: str
    system: str
    weights_sha256: str
    controls: tuple[str, ...] = ()
    size_rule: SizeRule = field(default_factory=SizeRule)
    licence: str = ""
    version: str = ""
    backbones: dict[str, str] = field(default_factory=dict)
    origin: str = ""


class Session(Protocol):
    """A model on a device, ready to colour batches.

    Attributes:
        info: name, weights, controls and size rule of the model.
        device: such as ``cpu`` or ``cuda:0``.
        precision: of the arithmetic, such as ``fp32``.
        backend: ``pytorch`` or ``onnxruntime``.
        streams: how many threads may run it at a time.
        threads: CPU threads that one batch takes.
        compiled: whether PyTorch has compiled the network.
    """

    info: ModelInfo
    device: str
    precision: str
    backend: str
    streams: int
    threads: int
    compiled: bool

    def chroma(self, lightness: NDArray[np.float32], controls: Controls = NO_CONTROLS) -> NDArray[np.float32]:
        """Colour a batch: ``(N, 1, H, W)`` CIE L* 0..100 in, ``(N, 2, h, w)`` CIELAB a*, b* out.

        Where ``info.size_rule.in_rgb``, what comes out is the network's RGB instead: ``(N, 3, h, w)`` sRGB 0..1.
        ``controls`` has every control of ``info.controls``; see ``pipeline.controls.complete``. Raises
        ``OutOfMemoryError`` when the batch does not fit the device.
        """
        ...


class OutOfMemoryError(MemoryError):
    """The device has too little memory for this batch; a smaller batch may fit."""
