"""The front door of ``evaluate``: from a ``Request`` over a ``Run`` to a ``Report``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from colorcli.color import join, scoring
from colorcli.errors import ModelError, UsageError
from colorcli.evaluate import cost, data, metrics, report
from colorcli.evaluate.engine import Evaluation, EvaluationOptions, Observer
from colorcli.evaluate.output import Pictures, prepare_folder, write_report
from colorcli.evaluate.protocols import Protocol
from colorcli.evaluate.scoring import GRAY, ORIGINAL, Scorer
from colorcli.pipeline import opening
from colorcli.pipeline.controls import CLASS, CLASS_INDEX, Control, declared_settings
from colorcli.registry import registry, splits
from colorcli.registry.card import ModelCard
from colorcli.report.records import ModelRecord, Report
from colorcli.sessions.session import Session

if TYPE_CHECKING:
    from colorcli.evaluate.perceptual import Perceptual


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Attributes:
        protocol: how to measure.
        metrics: ids; empty for the protocol's.
        roots: folders, tar shards and files; empty for the built-in photographs.
        truth: folder of the originals, where ``roots`` are another tool's colourings of them.
        models: as ``registry.find`` takes them.
        weights: files of metric networks, instead of the pulled ones.
        force: whether to allow FID of fewer photographs than it has features.
        output: folder for the report, or None.
        command: the command line, for the report.
        open_model: opens a model, given its name and roughly the number of photographs.
    """

    protocol: Protocol
    metrics: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    truth: Path | None = None
    models: tuple[str, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)
    force: bool = False
    output: Path | None = None
    command: tuple[str, ...] = ()
    open_model: Callable[[str, int], Session] = lambda name, photographs: opening.open_model(
        name, photographs=photographs
    )


class Run:
    """A validated evaluation, ready to run; errors in the request show before the long part.

    Attributes:
        dataset: the photographs.
        models: sessions by their names in the report.

    Raises:
        UsageError: there is no such metric, or the request is contradictory.
        ModelError: weights of a model or of a metric network are missing or damaged.
        NothingToDoError: there is no photograph.
        OutputError: the output folder cannot be made.
    """

    def __init__(self, request: Request, options: EvaluationOptions) -> None:
        self._request, self._options = request, options
        protocol = request.protocol
        asked = (*(request.metrics or protocol.metrics), *(["diversity-classes"] if options.classes else []))
        self.metrics = metrics.choose(asked, protocol.sigmas)
        if any(metric.id == "diversity-classes" for metric in self.metrics) and options.classes < 2:
            raise UsageError("Diversity over classes needs at least 2 of them, such as --classes top5.")
        if any(metric.id == "native-mse" for metric in self.metrics) and not protocol.native:
            raise UsageError("The metric native-mse scores a network's own output: add --native.")
        if request.truth is None:
            self.dataset = data.find(request.roots, protocol.data, protocol.labels)
        else:
            self.dataset = data.find_pairs(request.roots, request.truth, protocol.data)
        self._refuse_small_fid()
        self.models: dict[str, Session] = {}
        for name in request.models:
            session = request.open_model(name, len(self.dataset.items))
            self.models.setdefault(session.info.name, session)
        if protocol.labels != "none" or options.classes:
            self._refuse_deaf(CLASS_INDEX, "--labels and --classes are")
        self._check_controls()
        for reserved in {GRAY, ORIGINAL} & set(self.models):
            raise UsageError(f"A model cannot be called {reserved}: that is another row of the table.")
        self.pairs_as = None if request.truth is None else _tool_name(request.roots, self.models)
        self._spread = any(metric.id.startswith("diversity") and "@" in metric.id for metric in self.metrics)
        if self._spread and options.samples < 2:
            raise UsageError("Diversity needs at least 2 samples.")
        device = next((session.device for session in self.models.values()), "cpu")
        self._perceptual = self._metric_networks(device)
        self._device = device
        if request.output is not None:
            prepare_folder(request.output)

    def carry_out(self, observe: Observer = lambda _: None, stop: Callable[[], bool] = lambda: False) -> Report:
        """Score everything, or until a stop; write the output folder, if any, and return the report.

        Raises:
            OutputError: the output folder cannot be written.
        """
        join.warm_up()
        scoring.warm_up()
        cards = self._cards()
        rows = [self._facts(name, session) for name, session in self.models.items()]
        for row in rows:
            if row["name"] in cards:
                row["selection"] = cards[row["name"]].training.get("selection")
        output = self._request.output
        with tempfile.TemporaryDirectory(prefix="colorcli-") as folder:
            pictures = Pictures(Path(folder))
            keep = None if output is None else pictures.keep
            protocol = self._request.protocol
            scorer = Scorer(
                self.metrics,
                self._perceptual,
                self.pairs_as,
                keep,
                strength=protocol.strength,
                vividness=protocol.vividness,
            )
            evaluation = Evaluation(
                protocol,
                self.models,
                scorer,
                self._options,
                spread=self._spread,
                observe=observe,
                stop=stop,
            )
            observe({"event": "run.start"})  # what came before must not count as the time of the first photograph
            outcome = evaluation.run(self.dataset)
            if self.pairs_as is not None:
                rows.insert(0, {"name": self.pairs_as, "weights_sha256": None})
            made = report.build(
                outcome,
                self.metrics,
                self._request.protocol,
                rows,
                roots=self.dataset.roots,
                options=self._options,
                command=self._request.command,
                device=self._device,
                metric_networks={} if self._perceptual is None else self._perceptual.hashes,
                left=len(self.dataset.items) + len(self.dataset.failures) - len(outcome.images) - len(outcome.failures),
            )
            made["notes"] += self._selection_notes({image.name: image.sha256 for image in outcome.images})
            if output is not None and outcome.images:
                write_report(output, made, pictures)
        return made

    def _selection_notes(self, sha256: Mapping[str, str]) -> list[str]:
        """Notes on models that were chosen on these photographs, or trained on them."""
        cards = {name: card for name, card in self._cards().items() if card.folder is not None}
        folders = {name: Path(card.folder or "") for name, card in cards.items()}
        chosen = [
            folders[name]
            for name, card in cards.items()
            if not str(card.training.get("selection", "")).startswith("the last step")
        ]
        count = len(sha256)
        held_back = splits.shared(chosen, splits.HELD_BACK, sha256)
        learnt = splits.shared([*folders.values()], splits.TRAINING, sha256)
        notes = [
            f"{name} was chosen on {held_back[str(folder)]} of these {count} photographs, which flatters it; "
            "measure on others, such as those of data.test."
            for name, folder in folders.items()
            if str(folder) in held_back
        ]
        notes += [
            f"{name} learnt from {learnt[str(folder)]} of these {count} photographs, which says little about others."
            for name, folder in folders.items()
            if str(folder) in learnt
        ]
        # Older runs did not record the hashes of their training photographs.
        named = [splits.named(str(root)) for root in self._request.roots]
        notes += [
            f"{root[0]} learnt from these photographs."
            for root in named
            if root and root[1] == splits.TRAINING and str(root[0]) not in learnt
        ]
        return notes

    def _cards(self) -> dict[str, ModelCard]:
        """The cards of the models that have one, by the names that they have in the report."""
        found = {}
        for name in self.models:
            with contextlib.suppress(ModelError):
                found[name] = registry.find(name)
        return found

    def _check_controls(self) -> None:
        """Refuse settings that no model takes, several values of one, and classes from two sources."""
        fixed = self._request.protocol.controls
        for one, setting in declared_settings():
            if setting.name in fixed:
                self._refuse_deaf(one, f"{setting.option} is")
                if isinstance(fixed[setting.name], tuple):
                    raise UsageError(f"evaluate colours every photograph with one value of {setting.option}: give one.")
        if CLASS.name in fixed and self._request.protocol.labels != "none":
            raise UsageError(f"{CLASS.option} and --labels both say what a photograph shows: omit one of them.")

    def _refuse_deaf(self, one: Control, options: str) -> None:
        """Refuse options for a control that no model takes."""
        if one.follow is not None and not self._request.protocol.native:
            return
        if not any(one.name in session.info.controls for session in self.models.values()):
            names = f" ({', '.join(self.models)} cannot)" if self.models else ""
            raise UsageError(f"{options} for models that can take a {one.title}{names}.")

    def _refuse_small_fid(self) -> None:
        count = len(self.dataset.items)
        if any(metric.id == "fid" for metric in self.metrics) and count < report.FID_LEAST and not self._request.force:
            raise UsageError(
                f"FID of {count} photographs means nothing: below {report.FID_LEAST:,} it depends on their number "
                "more than on their colours. Omit it, or add --force to report it anyway (flagged)."
            )

    def _metric_networks(self, device: str) -> Perceptual | None:
        needed = metrics.required_networks(self.metrics)
        if not needed:
            return None
        from colorcli.evaluate.perceptual import Perceptual

        return Perceptual(needed, self._request.weights, device)

    @staticmethod
    def _facts(name: str, session: Session) -> ModelRecord:
        costs = cost.measure(session)
        return {
            "name": name,
            "system": session.info.system,
            "weights_sha256": session.info.weights_sha256,
            "backbones": dict(session.info.backbones),
            "backend": session.backend,
            "device": session.device,
            "precision": session.precision,
            "compiled": session.compiled,
            "parameters": costs["parameters"],
            "multiply_adds": costs["multiply_adds"],
            "memory_mb": costs["memory_mb"],
            "milliseconds": costs["milliseconds"],
        }


def _tool_name(roots: Sequence[Path], taken: Mapping[str, Session]) -> str:
    """Name of another tool's colourings in the report: their folder's name."""
    name = roots[0].resolve().name or "other"
    return f"{name} (files)" if name in taken or name in (GRAY, ORIGINAL) else name
