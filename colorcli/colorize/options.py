"""What a run was asked for: parameters that decide the result, and how the work is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from colorcli.errors import UsageError
from colorcli.images.photo import Format
from colorcli.sessions.machine import available_cpus, available_memory
from colorcli.sessions.session import ModelInfo

DEFAULT_SIGMA = 0.8
MAX_SAMPLES = 1000
# A pixel in flight takes up to 3 bytes each when decoded, coloured and encoded, and twice that with 16 bits; the rest
# is for the network.
_BYTES_PER_PIXEL = 48


def _most_pixels() -> int:
    memory = available_memory()
    return 1 << 26 if memory is None else min(1 << 26, memory // _BYTES_PER_PIXEL)


@dataclass(frozen=True)
class Parameters:
    """Everything besides the input and the weights that decides what an output looks like.

    Attributes:
        sigma: scale of the random code z; None for a model that takes none.
        seed: of z; None for a model that takes none.
        class_index: ImageNet class 0..999, or -1 where the network's own classifier decides; or several, of which each
            photograph is coloured as every one.
        size: working size in pixels.
        strength: factor on chroma, 0..2.
        format: of the outputs; None keeps each input's own.
        quality: of JPEG and WebP, 1..100.
    """

    sigma: float | None = DEFAULT_SIGMA
    seed: int | None = 0
    class_index: int | tuple[int, ...] = -1
    size: int = 256
    strength: float = 1.0
    format: Format | None = None
    quality: int = 95

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that a photograph is coloured as, one or more."""
        return (self.class_index,) if isinstance(self.class_index, int) else self.class_index

    def variant(self, sample: int) -> tuple[int, int]:
        """The class, and the index of the random code, of a photograph's output ``sample``: classes change fastest."""
        code, which = divmod(sample, len(self.classes))
        return self.classes[which], code

    def record(self) -> dict[str, object]:
        """The parameters as the journal and the label hold them."""
        return asdict(self)


@dataclass(frozen=True)
class Execution:
    """How the work is done; none of it changes an output by more than one code value.

    Attributes:
        batch_size: most colourings in one pass of the network; None chooses for the device.
        jobs: threads that decode, and as many that encode.
        recolor: colour photographs that are in colour already.
        fail_fast: stop at the first photograph that fails.
        max_pixels: bound on the pixels of all photographs in flight; a larger photograph travels alone.
        fsync: whether to wait until outputs and journal are on the disk.
        verify: decode every output in full before it counts, not only its header.
    """

    batch_size: int | None = None
    jobs: int = max(1, min(8, available_cpus()))
    recolor: bool = False
    fail_fast: bool = False
    max_pixels: int = _most_pixels()
    fsync: bool = True
    verify: bool = False


def recipe(weights_sha256: str, parameters: dict[str, object]) -> str:
    """Weights and parameters as one string; two outputs of one input are alike when theirs are equal."""
    return json.dumps({"weights_sha256": weights_sha256, **parameters}, sort_keys=True)


def choose_parameters(
    model: ModelInfo,
    *,
    sigma: float | None = None,
    seed: int | None = None,
    samples: int = 1,
    class_index: int | tuple[int, ...] | None = None,
    size: int | None = None,
    strength: float = 1.0,
    format: Format | None = None,
    quality: int = 95,
) -> Parameters:
    """Fill in what was not asked for, and refuse what the model cannot be steered by.

    Raises:
        UsageError: the model lacks a control or a size that was asked for.
    """
    takes_z = "z" in model.controls
    asked = {"--sigma": sigma is not None, "--seed": seed is not None, "--samples": samples > 1}
    for option, given in asked.items():
        if given and not takes_z:
            raise UsageError(f"{model.name} takes no random code, so {option} means nothing to it; {_controls(model)}.")
    if class_index is not None and "class_index" not in model.controls:
        raise UsageError(f"{model.name} cannot be given a class; {_controls(model)}.")
    if size is not None and model.size_rule.fixed and size != model.size_rule.size:
        raise UsageError(f"{model.name} works at {model.size_rule.size} pixels only; leave --size away.")
    if samples > 1 and sigma == 0:
        raise UsageError("With --sigma 0 all samples are the same; ask for one, or for a larger sigma.")
    parameters = Parameters(
        sigma=(DEFAULT_SIGMA if sigma is None else sigma) if takes_z else None,
        seed=(seed or 0) if takes_z else None,
        class_index=-1 if class_index is None else class_index,
        size=size or model.size_rule.size,
        strength=strength,
        format=format,
        quality=quality,
    )
    if samples * len(parameters.classes) > MAX_SAMPLES:
        raise UsageError(f"A photograph can have {MAX_SAMPLES} colourings at most, of all classes together.")
    return parameters


def _controls(model: ModelInfo) -> str:
    return f"it takes {' and '.join(model.controls)}" if model.controls else "it takes no controls"
