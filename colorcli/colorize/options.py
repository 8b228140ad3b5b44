"""Options of a run: parameters that decide the result, and how the work is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from colorcli.color.vividness import NEUTRAL
from colorcli.errors import UsageError
from colorcli.images.credentials import Identity
from colorcli.images.output_profile import OutputProfile
from colorcli.images.photo import Format
from colorcli.images.read import MAX_PIXELS
from colorcli.pipeline.coloring import check
from colorcli.pipeline.controls import Settings, choose, controls, declared_settings, own, variants
from colorcli.sessions.machine import available_cpus, available_memory
from colorcli.sessions.session import ModelInfo

Pages = Literal["largest", "first", "all"]
"""Which pages of a multi-page file are coloured."""

MAX_SAMPLES = 1000
Mark = Literal["visible"]
# Parameters that are newer than the first journals, and appear in records only if they are not the default.
_LATER = ("vividness", "negative", "profile", "pages", "mark", "credentials")
# A pixel in flight takes up to 3 bytes each when decoded, coloured and encoded, twice that at 16 bits; the rest is for
# the network.
_BYTES_PER_PIXEL = 48


def _most_pixels() -> int:
    memory = available_memory()
    return 1 << 26 if memory is None else min(1 << 26, memory // _BYTES_PER_PIXEL)


@dataclass(frozen=True)
class Parameters:
    """Everything that decides an output besides the input and the weights.

    Attributes:
        settings: settings of the model's controls, by name; if one has several values, each photograph is coloured with
            each of them.
        size: working size in pixels.
        strength: factor on chroma, 0..2.
        vividness: 0..1, see ``color.vividness``; 0.5 changes nothing.
        format: format of the outputs; None keeps each input's own.
        quality: JPEG and WebP quality, 1..100.
        negative: whether photographs are inverted first.
        profile: colour space of the outputs; None is sRGB.
        pages: which pages of a multi-page file are coloured: ``largest``, ``first`` or ``all``.
        mark: ``visible`` for a sign in the corner (``images.visible_mark``), or None.
        credentials: hexadecimal SHA-256 of the certificate that signs the outputs; None leaves them unsigned.
    """

    settings: Settings = field(default_factory=dict)
    size: int = 256
    strength: float = 1.0
    vividness: float = NEUTRAL
    format: Format | None = None
    quality: int = 95
    negative: bool = False
    profile: OutputProfile | None = None
    pages: Pages = "largest"
    mark: Mark | None = None
    credentials: str | None = None

    def of(self, relative: str) -> Parameters:
        """The parameters of one photograph, by its path relative to the input."""
        settings = own(self.settings, relative)
        return self if settings == self.settings else replace(self, settings=settings)

    def record(self) -> dict[str, Any]:
        """The parameters for journals and labels, without newer ones that have their default value."""
        rest = {name: value for name, value in vars(self).items() if name != "settings"}
        rest = {name: value for name, value in rest.items() if name not in _LATER or value != getattr(Parameters, name)}
        if self.profile is not None:
            rest["profile"] = self.profile.name
        return {**self.settings, **rest}


@dataclass(frozen=True)
class Execution:
    """How the work is done; none of it changes an output by more than one code value.

    Attributes:
        batch_size: the largest number of colourings per pass of the network; None chooses by device.
        jobs: number of threads that decode, and of threads that encode.
        recolor: whether to colour photographs that are already in colour.
        fail_fast: whether to stop at the first photograph that fails.
        max_pixels: limit on the pixels in flight; a larger photograph is processed alone.
        fsync: whether to sync outputs and journal to disk.
        verify: whether to decode every output in full, not only its header.
        salvage: whether to colour the readable part of damaged photographs, with a note on what is missing.
        keep_times: whether outputs get the modification times of their inputs.
        largest: number of pixels above which a photograph is refused before it is decoded.
        signer: who signs the outputs; None leaves them unsigned.
    """

    batch_size: int | None = None
    jobs: int = max(1, min(8, available_cpus()))
    recolor: bool = False
    fail_fast: bool = False
    max_pixels: int = _most_pixels()
    fsync: bool = True
    verify: bool = False
    salvage: bool = False
    keep_times: bool = False
    largest: int = MAX_PIXELS
    signer: Identity | None = None


def fingerprint(weights_sha256: str, parameters: Mapping[str, object]) -> str:
    """Weights and parameters as a string; equal strings mean equal outputs for the same input.

    Values without effect are left out, so that controls which a model lacks, or which were added later, do not matter.
    """
    neutral = {setting.name: setting.unset for _, setting in declared_settings()}
    said = {name: value for name, value in parameters.items() if value not in (None, neutral.get(name))}
    return json.dumps({"weights_sha256": weights_sha256, **said}, sort_keys=True)


def choose_parameters(
    model: ModelInfo,
    *,
    samples: int = 1,
    size: int | None = None,
    strength: float = 1.0,
    vividness: float = NEUTRAL,
    format: Format | None = None,
    quality: int = 95,
    negative: bool = False,
    profile: OutputProfile | None = None,
    pages: Pages = "largest",
    mark: Mark | None = None,
    credentials: str | None = None,
    **asked: Any,
) -> Parameters:
    """Fill in defaults, and refuse controls that the model does not take.

    ``asked`` has the controls, as for ``pipeline.controls.choose``; the other arguments are those of ``Parameters``.

    Raises:
        UsageError: the model lacks a control or a size that was asked for, or a value is out of range.
    """
    check(model, size=size, strength=strength, vividness=vividness)
    settings = choose(model, asked)
    if samples > 1:
        if not any(one.random for one in controls(model.controls)):
            raise UsageError(f"{model.name} gives every sample the same colours, so --samples has no effect.")
        for _, setting in declared_settings():
            if setting.still is not None and settings.get(setting.name) == setting.still:
                raise UsageError(
                    f"With {setting.option} {setting.still} all samples are the same; ask for one, or for a larger "
                    f"{setting.word}."
                )
    if samples * variants(settings) > MAX_SAMPLES:
        raise UsageError(f"A photograph can have {MAX_SAMPLES} colourings at most, of all classes together.")
    if mark not in (None, "visible"):
        raise UsageError(f"--mark takes visible, not '{mark}'.")
    working = size or model.size_rule.size
    return Parameters(
        settings, working, strength, vividness, format, quality, negative, profile, pages, mark, credentials
    )
