"""Pseudo-labels: the teacher's classes of colour photographs, computed once and cached."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from colorcli.sessions.machine import available_cpus
from colorcli.train.data import Entry, centre
from colorcli.train.objectives.base import Setup
from colorcli.train.statistics import fingerprint, once

_SIDE = 160
_GROUP = 16
# Decoded in parallel while the teacher is busy; bounded, since there may be a million.
_AHEAD = 256


def pseudo_labelled(setup: Setup, entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the teacher's classes; unusable photographs have none (-1).

    The teacher sees the centre of the whole photograph, not a random crop: that is more accurate, and is computed once.
    """
    asked = hashlib.sha256(fingerprint(entries).encode())
    for tensor in setup.teacher.state_dict().values():
        asked.update(tensor.cpu().contiguous().numpy().tobytes())

    def ask() -> dict[str, NDArray[np.int64]]:
        setup.say(f"naming the classes of {len(entries)} photographs, once")
        return {"classes": np.concatenate([*_answers(setup, entries)])}

    classes = once("labels", asked.hexdigest(), ask)["classes"]
    return [dataclasses.replace(entry, label=int(label)) for entry, label in zip(entries, classes, strict=True)]


@torch.no_grad()
def _answers(setup: Setup, entries: Sequence[Entry]) -> Iterator[NDArray[np.int64]]:
    """Classes, a few photographs at a time."""
    with ThreadPoolExecutor(available_cpus()) as pool:
        for start in range(0, len(entries), _AHEAD):
            pictures = pool.map(partial(_picture, setup), entries[start : start + _AHEAD])
            while group := list(itertools.islice(pictures, _GROUP)):
                answers = np.full(len(group), -1, np.int64)
                known = [index for index, picture in enumerate(group) if picture is not None]
                if known:
                    rgb = torch.from_numpy(np.stack([picture for picture in group if picture is not None]))
                    rgb = rgb.to(setup.device, memory_format=torch.channels_last)
                    answers[known] = setup.teacher.logits(setup.teacher(rgb)).argmax(1).cpu().numpy()
                yield answers


def _picture(setup: Setup, entry: Entry) -> NDArray[np.float32] | None:
    image = setup.photos.read(entry, _SIDE)
    return None if image is None else centre(image, _SIDE).rgb
