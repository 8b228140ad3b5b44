"""The one way to run a network, and the controls that steer it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from colorcli.networks.size import SizeRule

Z_DIM = 68


@dataclass(frozen=True)
class ModelInfo:
    """What the pipeline needs to know about a loaded model, whatever runs it.

    Attributes:
        name: exact name, such as ``bigcolor@lite`` (or the path of a run folder or file).
        system: the paper's system, such as ``bigcolor``.
        weights_sha256: hexadecimal SHA-256 of the weights file.
        controls: the controls the network takes, any of ``z`` and ``class_index``.
        size_rule: the input sizes it takes.
        licence: one line.
        version: the model's version as its card states it.
        backbones: SHA-256 of the weights that the model shares with others, by the backbone's name.
    """

    name: str
    system: str
    weights_sha256: str
    controls: tuple[str, ...] = ()
    size_rule: SizeRule = field(default_factory=SizeRule)
    licence: str = ""
    version: str = ""
    backbones: dict[str, str] = field(default_factory=dict)


class Session(Protocol):
    """A model on a device, ready to colour batches.

    One thread runs it, or as many as its attribute ``streams`` says where it has one.
    """

    info: ModelInfo
    device: str
    precision: str
    backend: str

    def chroma(
        self,
        lightness: NDArray[np.float32],
        *,
        z: NDArray[np.float32] | None = None,
        class_index: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Colour a batch: ``(N, 1, H, W)`` CIE L* 0..100 in, ``(N, 2, h, w)`` CIELAB a*, b* out.

        ``z`` is ``(N, 68)`` and already scaled by sigma; ``class_index`` is ``(N,)``, -1 where the network's own
        classifier decides. Raises ``OutOfMemoryError`` when the batch does not fit the device.
        """
        ...


class OutOfMemoryError(MemoryError):
    """The device has too little memory for this batch; a smaller batch may fit."""


def random_code(seed: int, name: str, sample: int, sigma: float) -> NDArray[np.float32]:
    """The random code z of one colouring: ``sigma`` times 68 standard normal numbers, float32 ``(68,)``.

    The numbers come from Philox keyed by the first 128 bits of SHA-256 of (seed, name, sample), so they depend on
    nothing else: not on the order of photographs, the batch, the number of workers or the shard.

    Args:
        seed: any integer.
        name: the photograph's path relative to the input, in POSIX form.
        sample: index of the colouring, from 0.
        sigma: scale of the distribution, >= 0.
    """
    digest = hashlib.sha256(f"{seed}\0{name}\0{sample}".encode("utf-8", "surrogateescape")).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return (sigma * generator.standard_normal(Z_DIM)).astype(np.float32)
