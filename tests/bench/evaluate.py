"""The cost of scoring relative to colouring: the same photographs and pipeline, with and without metrics."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from colorcli.color import join, scoring
from colorcli.evaluate import protocols
from colorcli.evaluate.coloring import Answer, Take
from colorcli.evaluate.data import Dataset, find
from colorcli.evaluate.engine import Evaluation, EvaluationOptions
from colorcli.evaluate.metrics import choose
from colorcli.evaluate.prepare import ProtocolImage
from colorcli.evaluate.protocols import Selection
from colorcli.evaluate.scoring import ImageScores, Scorer
from colorcli.pipeline.opening import open_model
from colorcli.sessions.session import Session

from .common import Row

_METRICS = ("psnr", "ssim", "delta-e", "colorfulness")
_REPEATS = 3


class _Joiner(Scorer):
    """A scorer that only makes the coloured images, so that the time is that of colouring alone."""

    def score(self, prepared: ProtocolImage, answers: dict[Take, Answer]) -> ImageScores:  # type: ignore[override]
        for answer in answers.values():
            join.join(prepared.gray, answer.chroma)
        return ImageScores(prepared.name, prepared.sha256, 0, 0)


def measure(model: str, count: int) -> list[Row]:
    """Print wall and CPU time of colouring with scoring, relative to colouring alone; no rows: there is no target."""
    session = open_model(model, backend="pytorch", device="cpu")
    join.warm_up()
    scoring.warm_up()
    metrics = choose(_METRICS, ())
    with tempfile.TemporaryDirectory() as folder:
        dataset = _photographs(Path(folder), count)
        _run(session, Scorer(metrics), dataset)
        alone, both = ((np.inf, np.inf), (np.inf, np.inf))
        # Alternate, so that other load on the machine affects both.
        for _ in range(_REPEATS):
            alone = tuple(np.minimum(alone, _run(session, _Joiner(metrics), dataset)))
            both = tuple(np.minimum(both, _run(session, Scorer(metrics), dataset)))
    for kind, first, second in zip(("wall", "CPU"), alone, both, strict=True):
        print(
            f"{kind} ms a photograph: colouring {1000 * first / count:.1f}, with {', '.join(_METRICS)} "
            f"{1000 * second / count:.1f}; ratio {second / first:.2f}"
        )
    return []


def _photographs(folder: Path, count: int) -> Dataset:
    sources = [data.astronaut, data.coffee, data.chelsea, data.rocket]
    for index in range(count):
        picture = Image.fromarray(sources[index % len(sources)]()).resize((500, 375), Image.Resampling.BICUBIC)
        picture.rotate(index % 5).save(folder / f"{index:03d}.jpg", quality=90)
    return find([folder], Selection())


def _run(session: Session, scorer: Scorer, dataset: Dataset) -> tuple[float, float]:
    evaluation = Evaluation(protocols.load(protocols.DEFAULT), {"model": session}, scorer, EvaluationOptions())
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = evaluation.run(dataset)
    assert len(outcome.images) == len(dataset.items), outcome.failures
    return time.perf_counter() - wall, time.process_time() - cpu
