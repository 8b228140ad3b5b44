"""Pseudo-labels: the classes that the teacher sees in colour photographs, found once and kept in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from colorcli.train.data import Augment, Entry
from colorcli.train.objectives.base import Setup
from colorcli.train.statistics import fingerprint, once

_SIDE = 160
_GROUP = 16


def pseudo_labelled(setup: Setup, entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the teacher's answers as classes; a photograph that is left out has none (-1).

    The teacher sees the middle of the whole photograph rather than a crop of the moment: it knows more of that, and
    need not be asked in every step.
    """
    weights = setup.teacher.classifier.weight.detach().cpu().numpy()
    key = hashlib.sha256(fingerprint(entries).encode() + weights.tobytes()).hexdigest()

    def ask() -> dict[str, NDArray[np.int64]]:
        setup.say(f"naming the classes of {len(entries)} photographs, once")
        return {"classes": np.concatenate([*_answers(setup, entries)])}

    classes = once("labels", key, ask)["classes"]
    return [dataclasses.replace(entry, label=int(label)) for entry, label in zip(entries, classes, strict=True)]


@torch.no_grad()
def _answers(setup: Setup, entries: Sequence[Entry]) -> Iterator[NDArray[np.int64]]:
    """The classes of a few photographs at a time."""
    for start in range(0, len(entries), _GROUP):
        images = [setup.photos.read(entry) for entry in entries[start : start + _GROUP]]
        answers = np.full(len(images), -1, np.int64)
        known = [index for index, image in enumerate(images) if image is not None]
        if known:
            pictures = [Augment.centre(image, _SIDE).rgb for image in images if image is not None]
            rgb = torch.from_numpy(np.stack(pictures)).to(setup.device, memory_format=torch.channels_last)
            answers[known] = setup.teacher.logits(setup.teacher(rgb)).argmax(1).cpu().numpy()
        yield answers
