"""Scoring photographs: prepare -> network -> join and score.

Threads read and prepare photographs ahead of the network, and join and score behind it. The network runs in the
calling thread, on a CPU one photograph at a time, so that a number depends on nothing but its photograph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from colorcli.color.enlarge import chroma_of
from colorcli.errors import OutputError, PhotoError
from colorcli.evaluate.coloring import Answer, Take, color
from colorcli.evaluate.data import Dataset, Item
from colorcli.evaluate.prepare import ProtocolImage, prepare
from colorcli.evaluate.protocols import Protocol
from colorcli.evaluate.scoring import ImageScores, Scorer
from colorcli.pipeline.controls import CLASS, SIGMA, Settings, controls, draw, own, settings_of
from colorcli.sessions.machine import available_cpus
from colorcli.sessions.session import Controls, Session
from colorcli.text import printable

if TYPE_CHECKING:
    from colorcli.evaluate.classes import Classifier

_GPU_BATCH = 16
_AHEAD = 2

Observer = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation is carried out.

    Attributes:
        seed: first seed of models that take a random code; further seeds follow it.
        seeds: number of seeds to score such models with.
        samples: colourings of each photograph where diversity is measured.
        classes: number of likeliest classes over which diversity is measured; 0: none.
        jobs: threads that prepare and score.
        save_ab: folder for the chroma of every colouring, or None.
    """

    seed: int = 0
    seeds: int = 1
    samples: int = 10
    classes: int = 0
    jobs: int = max(1, min(8, available_cpus()))
    save_ab: Path | None = None


@dataclass
class Outcome:
    """Scores sorted by name; failures with their reasons."""

    images: list[ImageScores] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


class Evaluation:
    """Scores photographs with a set of models.

    Args:
        protocol: of the evaluation.
        models: sessions by their name in the report.
        scorer: computes the scores.
        options: everything else.
        spread: whether colourings for diversity are needed.
        stop: whether to stop: photographs in flight are still scored.
        observe: called with the result of each photograph, in the calling thread.
    """

    def __init__(
        self,
        protocol: Protocol,
        models: Mapping[str, Session],
        scorer: Scorer,
        options: EvaluationOptions,
        *,
        spread: bool = False,
        observe: Observer = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stop = stop
        self._protocol = protocol
        self._models = models
        self._scorer = scorer
        self._options = options
        self._spread = spread
        self._observe = observe
        self._rules = {session.info.size_rule for session in models.values()}
        on_cpu = all(session.device == "cpu" for session in models.values())
        self._classifier: Classifier | None = None
        if protocol.labels == "pseudo" or options.classes:
            from colorcli.evaluate.classes import Classifier

            self._classifier = Classifier(pseudo=protocol.labels == "pseudo", likely=options.classes)
        self._batch = 1 if on_cpu else _GPU_BATCH
        self._outcome = Outcome()

    def run(self, dataset: Dataset) -> Outcome:
        """Score a data set. A photograph that cannot be scored is counted as failed, and the others go on.

        Raises:
            OutputError: chroma cannot be saved.
        """
        for name, reason in dataset.failures:
            self._fail(name, reason)
        scoring: deque[tuple[str, Future[ImageScores]]] = deque()
        pool = ThreadPoolExecutor(self._options.jobs)
        try:
            for turn, batch in enumerate(self._batches(pool, dataset.items)):
                if self._stop():
                    break
                for prepared, answers in self._color(batch, turn):
                    scoring.append((prepared.name, pool.submit(self._scorer.score, prepared, answers)))
                while len(scoring) > _AHEAD * self._options.jobs:
                    self._collect(*scoring.popleft())
            while scoring:
                self._collect(*scoring.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._outcome.images.sort(key=lambda image: image.name)
        self._outcome.failures.sort()
        return self._outcome

    def _batches(self, pool: ThreadPoolExecutor, items: Sequence[Item]) -> Iterator[list[ProtocolImage]]:
        """Batches of prepared photographs, in order."""
        coming: deque[tuple[str, Future[ProtocolImage]]] = deque()
        batch: list[ProtocolImage] = []
        for item in items:
            coming.append((item.name, pool.submit(prepare, item, self._protocol, self._rules)))
            if len(coming) > _AHEAD * self._options.jobs + self._batch:
                batch += self._prepared(*coming.popleft())
            if len(batch) == self._batch:
                yield batch
                batch = []
        for name, future in coming:
            batch += self._prepared(name, future)
            if len(batch) == self._batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _prepared(self, name: str, future: Future[ProtocolImage]) -> list[ProtocolImage]:
        try:
            return [future.result() if self._classifier is None else self._classifier.named(future.result())]
        except (PhotoError, MemoryError) as error:
            self._fail(name, _reason(error, name))
            return []

    def _takes(self) -> list[tuple[Take, Settings, int]]:
        """All colourings that a photograph needs, with settings and sample index."""
        takes: list[tuple[Take, Settings, int]] = []
        seed = self._options.seed
        of_classes: list[tuple[Take, Settings, int]] = []
        for model, session in self._models.items():
            taken = controls(session.info.controls)
            chance = [setting.name for one in taken for setting in one.settings if setting.chance]
            fixed = {**settings_of(session.info.controls, self._protocol.controls), **dict.fromkeys(chance, seed)}
            repeats = self._options.seeds if any(one.random for one in taken) else 1
            takes += [
                (Take(model, repeat), {**fixed, **dict.fromkeys(chance, seed + repeat)}, 0) for repeat in range(repeats)
            ]
            takes += [
                (Take(model, repeat, sigma), {**fixed, SIGMA.name: sigma}, repeat)
                for sigma in (self._protocol.sigmas if self._spread and SIGMA.name in fixed else ())
                for repeat in range(self._options.samples)
            ]
            ranks = range(self._options.classes if CLASS.name in fixed else 0)
            of_classes += [(Take(model, rank=rank), fixed, 0) for rank in ranks]
        return takes + of_classes

    def _color(self, batch: list[ProtocolImage], turn: int) -> Iterator[tuple[ProtocolImage, dict[Take, Answer]]]:
        """Run every network on a batch; photographs for which one fails are counted and left out.

        A different network starts each turn: the first one shares the CPU with the scoring of the previous batch and
        would always seem the slowest.
        """
        answered: list[dict[Take, Answer]] = [{} for _ in batch]
        wrong: dict[int, str] = {}
        takes = self._takes()
        begin = turn % max(1, len(takes))
        for take, settings, sample in takes[begin:] + takes[:begin]:
            session = self._models[take.model]
            left = [member for member in range(len(batch)) if member not in wrong]
            chosen = [batch[member] for member in left]
            asked = [own(_of_class(settings, take, one), one.name) for one in chosen]
            given = [
                draw(session.info.controls, single, one.name, sample, one.windows[session.info.size_rule])
                for one, single in zip(chosen, asked, strict=True)
            ]
            answers = self._ask(session, chosen, given, asked)
            for member, answer in zip(left, answers, strict=True):
                if isinstance(answer, PhotoError):
                    wrong[member] = f"{take.model}: {answer}"
                    continue
                answered[member][take] = answer
                self._save(batch[member].name, take, answer)
        for member, prepared in enumerate(batch):
            if member in wrong:
                self._fail(prepared.name, wrong[member])
            else:
                yield prepared, {take: answered[member][take] for take, *_ in takes}

    def _ask(
        self,
        session: Session,
        batch: Sequence[ProtocolImage],
        given: Sequence[Sequence[Controls]],
        asked: Sequence[Settings],
    ) -> list[Answer | PhotoError]:
        if not self._protocol.native:
            return color(session, batch, given, asked)
        from colorcli.evaluate.native import ask

        return ask(session, batch, given)

    def _save(self, name: str, take: Take, answer: Answer) -> None:
        if self._options.save_ab is None or take.spread:
            return
        suffix = f".{take.repeat}.npz" if take.repeat else ".npz"
        # a name from a tar file may try to lead out of the folder
        inside = "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
        path = self._options.save_ab / folder_name(take.model) / f"{inside}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, ab=chroma_of(answer.chroma))
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error

    def _collect(self, name: str, future: Future[ImageScores]) -> None:
        try:
            scores = future.result()
        except (PhotoError, MemoryError) as error:
            self._fail(name, _reason(error, name))
            return
        self._outcome.images.append(scores)
        self._observe({"event": "photo.done", "input": name, "seconds": scores.seconds})

    def _fail(self, name: str, reason: str) -> None:
        self._outcome.failures.append((name, reason))
        self._observe({"event": "photo.failed", "input": name, "status": "failed", "reason": reason})


def _of_class(settings: Settings, take: Take, prepared: ProtocolImage) -> Settings:
    """Settings with the photograph's known class, or with the class that a colouring for diversity tries."""
    label = prepared.likely[take.rank] if take.rank >= 0 else prepared.label
    return {**settings, CLASS.name: label} if label >= 0 and CLASS.name in settings else settings


def _reason(error: Exception, name: str) -> str:
    """The reason as a clause that follows the photograph's name."""
    text = str(error).removeprefix(f"{printable(name)} ").rstrip(".")
    return f"does not fit into memory {text and f'({text})'}".rstrip() if isinstance(error, MemoryError) else text


def folder_name(model: str) -> str:
    """A folder name for a model."""
    return model.strip("/").replace("/", "_").replace("\\", "_").replace(":", "_") or "model"
