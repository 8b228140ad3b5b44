"""Classes of photographs, for networks that take one: pseudo-labels, and the likeliest classes of gray photographs."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from colorcli.evaluate.prepare import ProtocolImage, fit
from colorcli.evaluate.protocols import Protocol
from colorcli.networks.backbones import EfficientNetLite0
from colorcli.registry import registry
from colorcli.registry.teacher import load_teacher

GRAY_CLASSIFIER = "efficientnet-lite0-gray"
# Side at which training asks for pseudo-labels, too.
_SIDE = 160


class Classifier:
    """Names the classes of photographs before they are coloured.

    Args:
        pseudo: whether to label photographs that have no label by classifying the colour original.
        likely: number of likeliest classes to find for each gray photograph; 0: none.

    Raises:
        ModelError: the weights of a classifier are not on this machine.
    """

    def __init__(self, *, pseudo: bool, likely: int) -> None:
        self._pseudo, self._likely = pseudo, likely
        # Load now, so that missing weights show before an hour of another model.
        if pseudo:
            self._colour.eval()
        if likely:
            self._gray.eval()

    @cached_property
    def _colour(self) -> EfficientNetLite0:
        return load_teacher().requires_grad_(False)

    @cached_property
    def _gray(self) -> EfficientNetLite0:
        network = EfficientNetLite0(in_channels=1)
        tensors, _ = registry.read_backbone(GRAY_CLASSIFIER)
        network.load_state_dict(registry.fit(tensors, registry.shapes(network), GRAY_CLASSIFIER))
        return network.requires_grad_(False)

    @torch.inference_mode()
    def named(self, prepared: ProtocolImage) -> ProtocolImage:
        """Add the photograph's classes."""
        label, likely = prepared.label, prepared.likely
        if self._pseudo and label < 0:
            picture = fit(prepared.original, Protocol("pseudo", "", "crop", _SIDE))
            rgb = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()[None] / 255
            label = int(_scores(self._colour, rgb).argmax())
        if self._likely:
            gray = torch.from_numpy(prepared.gray.copy()).float()[None, None] / 255
            likely = tuple(_scores(self._gray, gray).topk(self._likely).indices.tolist())
        return dataclasses.replace(prepared, label=label, likely=likely)


def _scores(network: EfficientNetLite0, picture: Tensor) -> Tensor:
    scores: Tensor = network.logits(network(picture))[0]
    return scores
