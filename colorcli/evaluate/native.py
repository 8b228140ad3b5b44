"""Scoring a network's own output, before its chroma is joined with the photograph's lightness."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from colorcli.errors import PhotoError, UsageError
from colorcli.evaluate.coloring import Answer
from colorcli.evaluate.prepare import ProtocolImage
from colorcli.networks.colorizer import Colorizer
from colorcli.pipeline.controls import batched
from colorcli.sessions.pytorch import PyTorchSession, memory_errors
from colorcli.sessions.session import Controls, OutOfMemoryError, Session


def ask(
    session: Session, batch: Sequence[ProtocolImage], controls: Sequence[Sequence[Controls]]
) -> list[Answer | PhotoError]:
    """Like ``coloring.color``, with the network's own output beside its chroma.

    Raises:
        UsageError: the session does not run a network of this package.
    """
    if not isinstance(session, PyTorchSession):
        raise UsageError(f"{session.info.name} runs on {session.backend}, which only gives chroma; omit --native.")
    answers: list[Answer | PhotoError] = []
    for prepared, given in zip(batch, controls, strict=True):
        try:
            answers.append(_one(session, prepared, given))
        except OutOfMemoryError as error:
            answers.append(PhotoError(f"does not fit into the memory of {session.device}: {error}"))
    return answers


@torch.inference_mode()
@memory_errors()
def _one(session: PyTorchSession, prepared: ProtocolImage, given: Sequence[Controls]) -> Answer | PhotoError:
    layout = prepared.windows[session.info.size_rule]
    if len(layout.lightness) > 1:
        return PhotoError("is coloured in several windows, so the network has no single answer for it")
    start = time.perf_counter()
    network = session.network
    device = next(network.parameters()).device
    lightness = torch.from_numpy(layout.lightness[0]).to(device)[None, None]
    controls = {name: torch.from_numpy(value).to(device) for name, value in batched(given).items()}
    own = network.native(lightness, **controls).float()
    in_rgb = session.info.size_rule.in_rgb
    answer = network.as_rgb(own, lightness).clamp(0, 1) if in_rgb else network.to_chroma(own, lightness)
    chroma = answer[0].float().cpu().numpy()
    seconds = time.perf_counter() - start
    if not np.isfinite(chroma).all():
        return PhotoError("the network's answer holds values that are not numbers (NaN or infinity)")
    truth = torch.from_numpy(np.ascontiguousarray(prepared.original.transpose(2, 0, 1))).to(device).float()[None] / 255
    rgb = None
    if network.native_space == "rgb":
        picture = network.as_rgb(own, _sized(lightness, own.shape[-2:]))[0].float().clamp(0, 1).cpu().numpy()
        rgb = np.ascontiguousarray(np.rint(picture.transpose(1, 2, 0) * 255).astype(np.uint8))
    error = _error(network, own, _sized(truth, layout.shape))
    return Answer(chroma, seconds, rgb, error, session.info.size_rule.enlarge)


def _error(network: Colorizer, own: torch.Tensor, truth: torch.Tensor) -> float:
    if network.native_space == "bins":
        return math.nan
    wanted = network.target(truth)
    if wanted.shape[-2:] != own.shape[-2:]:
        # A network whose output is smaller than its working size is compared with the original at that size.
        wanted = network.target(_sized(truth, own.shape[-2:]))
    return float((own - wanted).square().mean())


def _sized(x: torch.Tensor, size: Any) -> torch.Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
