"""The training loop: phases of steps, each step repeatable from (recipe, photographs, step) alone."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from colorcli.errors import ColorcliError, UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.registry.card import ModelCard
from colorcli.registry.registry import find, own_tensors
from colorcli.registry.systems import systems
from colorcli.sessions.pytorch import resolve_device
from colorcli.text import Notify
from colorcli.train.cache import FeatureCache
from colorcli.train.data import Augment, Batch, Entry, Loader, PhotoSet
from colorcli.train.figures import variants
from colorcli.train.labels import pseudo_labelled
from colorcli.train.objectives import objective
from colorcli.train.objectives.base import Setup
from colorcli.train.pretrained import network_of
from colorcli.train.processes import Processes
from colorcli.train.recipe import DataOptions, Phase, Recipe
from colorcli.train.run import Run, load_optimizer, optimizer_tensors
from colorcli.train.statistics import colorful
from colorcli.train.trackers import check, trackers

_WINDOW = 50
LEAST_HELD_BACK = 20
"""Fewer photographs held back say little about the others."""
# After so many steps without an error, the discriminator no longer teaches the generator.
_WON_LOSS = 0.01
_WON_STEPS = 1000
# A gradient that is exactly zero for so many steps in a row stays zero: every ReLU is off, or every tanh saturated.
_DEAD_STEPS = 20

Observer = Callable[[dict[str, Any]], None]


class DivergedError(ColorcliError):
    """Training failed: a loss is not a number, the discriminator won, the network died, or ends worse than it began."""


class Trainer:
    """One training run.

    Attributes:
        step: number of steps taken; a phase that ends early counts in full.
        phase: index of the current phase.
        done: number of its steps taken.

    Args:
        setup: inputs of the objective.
        run: the run folder.
        processes: that train together; default: this one alone.
        keep_worse: whether to write a model that is worse than the initial network.
    """

    def __init__(self, setup: Setup, run: Run, processes: Processes | None = None, *, keep_worse: bool = False) -> None:
        self.setup, self.run, self.keep_worse = setup, run, keep_worse
        self.processes = processes or Processes.alone()
        _refuse_uneven_shares(setup.recipe, self.processes)
        self.photos = setup.photos
        self.entries = _entries(setup)
        # Now, because pseudo-labelling needs all processes.
        self.held_back = setup.held_back
        self.recipe = setup.recipe = _in_steps(setup.recipe, len(self.entries))
        self.objective = objective(setup.recipe.objective)(setup)
        self.network = self.objective.network
        self.average = self.objective.average()
        self.step = self.phase = self.done = 0
        self._checked = -1
        self.best: dict[str, float] = {}
        self.start: dict[str, float] = {}
        self._worse = ""
        self._since_best = 0
        self._won: deque[float] = deque(maxlen=_WON_STEPS)
        self._dead = 0
        self._scaler = torch.amp.GradScaler(setup.device.type, enabled=self.recipe.precision == "fp16")
        self._cache = FeatureCache(self.network, self.recipe, self.entries) if self.recipe.cache_features else None
        self._start_phase()
        self._resume()

    def _start_phase(self) -> None:
        self.optimizers = self.objective.optimizers(self.recipe.phases[self.phase])
        self._since_best = self._dead = 0
        self._won.clear()

    def fit(
        self,
        *,
        seconds: float = math.inf,
        stop: Callable[[], bool] = lambda: False,
        observe: Observer = lambda _: None,
    ) -> bool:
        """Train to the end of the recipe, for about ``seconds``, or until told to ``stop``; True at the recipe's end.

        Raises:
            DivergedError: a loss is not finite, the discriminator has won, or the network has died; or it ends worse
                than it began, and ``keep_worse`` is not set. The last checkpoint is whole in all cases.
        """
        until = time.monotonic() + seconds
        if self.step == 0:
            self._check(observe, save=False)
        while self.phase < len(self.recipe.phases):
            if not self._run_phase(lambda: stop() or time.monotonic() > until, observe):
                return False
            if self._checked != self.step:
                self._check(observe)
            self.phase, self.done = self.phase + 1, 0
            if self.phase < len(self.recipe.phases):
                self._start_phase()
        self._refuse_worse()
        if self.processes.is_main:
            with self._uncached():
                for name, figure in self.objective.figures(self.average).items():
                    self.run.figure(name, figure)
            beside = variants(self.run.folder)
            if beside is not None:
                self.run.figure("variants", beside)
        return True

    def _run_phase(self, stop: Callable[[], bool], observe: Observer) -> bool:
        """Run the rest of the current phase; False if stopped before its end."""
        phase = self.recipe.phases[self.phase]
        loader = self._loader(phase)
        window: list[dict[str, Tensor]] = []
        clock, waited = time.monotonic(), loader.waited
        left = 0 if self._without_gain(phase) else phase.steps - self.done
        for batch in loader.stream(self.done, left):
            window.append(self._train_step(phase, self.done, batch))
            self.done += 1
            self.step += 1
            if self.step % _WINDOW == 0 or self.step % self.recipe.every == 0 or self.done == phase.steps:
                seconds = time.monotonic() - clock
                speed = {
                    "photos_per_second": len(window) * phase.batch / seconds,
                    "waiting_for_data": (loader.waited - waited) / seconds,
                }
                self._log(self.processes.mean(_means(window)) | speed, observe)
                window = []
                if self.step % self.recipe.every == 0:
                    self._check(observe)
                    if self._without_gain(phase):
                        break
                clock, waited = time.monotonic(), loader.waited
            if self.processes.any(stop()):
                if self._checked != self.step:
                    self._check(observe)
                return False
        if self.done < phase.steps:
            if self.processes.is_main:
                observe({"step": self.step, "phase": f"{phase.name} ends early: no gain lately"})
            self.step, self.done = self.step + phase.steps - self.done, phase.steps
        return True

    def _without_gain(self, phase: Phase) -> bool:
        """Whether the phase has run out of patience."""
        return 0 < phase.patience <= self._since_best

    def _loader(self, phase: Phase) -> Loader:
        return Loader(
            self.photos,
            augmentation(self.recipe.data),
            batch=phase.batch,
            # Cached features require the same crop of a photograph in all phases.
            seed=self.recipe.seed + (0 if self._cache else 1000 * self.phase),
            share=self.setup.share,
            fixed=self._cache is not None,
            entries=self.entries,
        )

    def _train_step(self, phase: Phase, index: int, batch: Batch) -> dict[str, Tensor]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * phase.rate(index)
        terms: dict[str, Tensor] = {}
        for part in range(phase.accumulate):
            # Seed dropout and codes by the step, so that a resumed run repeats them.
            torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * 64 + part)
            last = part == phase.accumulate - 1
            piece = batch.part(part, phase.accumulate)

            def update(name: str, loss: Tensor, last: bool = last) -> Tensor:
                return self._update(phase, name, loss / phase.accumulate, last)

            if self._cache is not None:
                self._cache.expect(piece.names)
            with self.processes.synchronized_batch_norm():
                found = self.objective.step(phase, index, piece, update)
            terms = {key: terms.get(key, 0) + value / phase.accumulate for key, value in found.items()}
        if phase.train != "discriminator":
            self._update_average()
        if "d_loss" in terms and phase.train != "discriminator":
            self._watch_discriminator(float(terms["d_loss"]))
        return terms

    def _update(self, phase: Phase, name: str, loss: Tensor, last: bool) -> Tensor:
        """Accumulate a loss's gradients; after a batch's last part, step the optimizer. Returns the gradient norm."""
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        with self.processes.averaging_gradients(parameters if last else []):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if not last:
            return loss.new_zeros(())
        self._scaler.unscale_(optimizer)
        limit = phase.clip if name == "generator" and phase.clip else math.inf
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        # A gradient scaler skips overflowing steps and lowers its scale; that is not divergence.
        if not (torch.isfinite(loss) and (torch.isfinite(norm) or self._scaler.is_enabled())):
            raise self._diverged("a loss is not a finite number")
        if name == "generator":
            self._watch_gradient(norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        return norm.detach()

    def _diverged(self, why: str) -> DivergedError:
        if not self.run.begun:
            advice = "There is no checkpoint yet: start again with a lower learning rate."
        else:
            advice = (
                f"The last checkpoint in {self.run.folder} is from before that; resume it with a lower learning rate."
            )
        return DivergedError(f"Training diverged at step {self.step}: {why}. {advice}")

    def _watch_gradient(self, norm: Tensor) -> None:
        self._dead = 0 if norm > 0 else self._dead + 1
        if self._dead == _DEAD_STEPS:
            raise DivergedError(
                f"The network died by step {self.step}: its gradient has been exactly zero for {_DEAD_STEPS} steps, so "
                "it can no longer learn. Start again with a lower learning rate or a longer warm-up."
            )

    def _watch_discriminator(self, loss: float) -> None:
        self._won.append(loss)
        if len(self._won) == _WON_STEPS and max(self._won) < _WON_LOSS:
            raise DivergedError(
                f"The discriminator has been right about everything for {_WON_STEPS} steps (loss below {_WON_LOSS}), "
                f"so the generator no longer learns from it. The last checkpoint in {self.run.folder} is "
                "usable; resume it with a lower d_lr or a larger d_every."
            )

    def _update_average(self) -> None:
        # Early on, a long memory would average in untrained weights.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            theirs = learnt(self.network)
            for name, value in learnt(self.average).items():
                if value.is_floating_point():
                    value.lerp_(theirs[name].to(value.dtype), 1 - decay)
                else:
                    value.copy_(theirs[name])

    # The record

    def _log(self, values: dict[str, float], observe: Observer) -> None:
        if not self.processes.is_main:
            return
        phase = self.recipe.phases[min(self.phase, len(self.recipe.phases) - 1)].name
        record = {"step": self.step, "phase": phase} | {key: float(f"{value:.6g}") for key, value in values.items()}
        self.run.log(record)
        observe(record)

    def _check(self, observe: Observer, *, save: bool = True) -> None:
        """Validate, and save the checkpoint and the model."""
        self._checked = self.step
        if not self.processes.is_main:
            self._since_best = self.processes.broadcast(self._since_best)
            return
        if save and not all(bool(torch.isfinite(p).all()) for p in self.network.parameters() if p.requires_grad):
            raise self._diverged("a weight is not a finite number")
        with self._uncached():
            measured, grid = self.objective.validate(self.average)
        if save and not all(map(math.isfinite, measured.values())):
            raise self._diverged("a measure of the held-back photographs is not a finite number")
        if grid:
            self.run.sample_grid(self.step, grid)
        self._log(measured, observe)
        if not self.step:
            self.start = measured
        better = self._is_best(measured)
        worse = self._worse_than_start(measured)
        if worse and not self._worse:
            kept = "written anyway" if self.keep_worse else "no model is written"
            observe({"step": self.step, "phase": f"worse than at its start ({worse}): {kept}"})
        self._worse = worse
        # The initial weights may be the best if a model is adapted; an untrained network is not a model.
        if better and (self.keep_worse or not worse) and (save or (self.recipe.best and self._adapts)):
            facts = {
                "photographs": sum(entry.name not in self.photos.left_out for entry in self.entries),
                "steps": self.step,
                "selection": self._selection(),
                "validation": {key.removeprefix("val_"): round(value, 4) for key, value in measured.items()},
            }
            with self._uncached():
                self.objective.write(self.run, self.average, facts)
        if save:
            # After the model: a run killed in between resumes and writes the same model again.
            self.run.save(self._state(), self._tensors())
            self.run.draw_curves()
            self.run.leave_out(self.photos.left_out)
        self._since_best = self.processes.broadcast(self._since_best)

    def _is_best(self, measured: dict[str, float]) -> bool:
        """Whether the weights are the best so far by the recipe's metric."""
        name = self.recipe.best.removeprefix("-")
        if not name:
            return True
        if f"val_{name}" not in measured:
            known = ", ".join(key.removeprefix("val_") for key in measured)
            raise UsageError(
                f"Recipe '{self.recipe.name}' chooses by '{name}', which is not measured; there are {known}."
            )
        if not self.step and self.keep_worse and not self._adapts:
            # With keep_worse, any trained network will do, but not the untrained one.
            return False
        value = measured[f"val_{name}"] * (-1 if self.recipe.best.startswith("-") else 1)
        if value > self.best.get("value", -math.inf):
            self.best, self._since_best = {"value": value, "step": self.step}, 0
            return True
        self._since_best += 1
        return False

    def _selection(self) -> str:
        """How and on what the shipped weights were chosen."""
        count = len(self.photos.validation)
        if not self.recipe.best:
            return f"the last step; {count} photographs were held back and nothing was chosen on them"
        name = self.recipe.best.removeprefix("-").replace("_", " ")
        return f"best {name} in a check every {self.recipe.every} steps, on {count} photographs held back"

    @property
    def _adapts(self) -> bool:
        """Whether training started from a model."""
        return self.setup.start is not None

    def _worse_than_start(self, measured: dict[str, float]) -> str:
        """In what way the network is not better than the initial one; empty if it is."""
        if not self.recipe.best:
            return self.objective.worse(measured, self.start)
        if not self.step or self.best["step"] or self._adapts:
            return ""
        return f"{self.recipe.best.removeprefix('-').replace('_', ' ')} was best before the first step"

    def _refuse_worse(self) -> None:
        """Raise an error, in every process, if training has made the network worse.

        Raises:
            DivergedError: it has, and ``keep_worse`` is not set.
        """
        if not self.processes.any(bool(self._worse) and not self.keep_worse):
            return
        kept = self.run.model_step()
        beside = "No model was written" if kept is None else f"The model in {self.run.folder} is that of step {kept}"
        raise DivergedError(
            f"The network is worse at step {self.step} than at its start{self._worse and f' ({self._worse})'}. "
            f"{beside}: start again with a lower learning rate, or write it anyway with --resume --keep-worse."
        )

    def _uncached(self) -> Any:
        return self._cache.paused() if self._cache is not None else contextlib.nullcontext()

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "phase": self.phase,
            "done": self.done,
            "best": self.best,
            "since_best": self._since_best,
            "start": self.start,
            "worse": self._worse,
            "scale": self._scaler.state_dict(),
        }

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        networks = {"network": self.network, "average": self.average, **self.objective.parts}
        return {name: learnt(module) for name, module in networks.items()} | {
            f"{name}_optimizer": optimizer_tensors(optimizer) for name, optimizer in self.optimizers.items()
        }

    def _resume(self) -> None:
        restored = self.run.restore()
        if restored is not None:
            self._take_over(*restored)
        if self.processes.broadcast(self.step) != self.step:
            raise UsageError(f"All machines that train must share the run folder: {self.run.folder}.")
        if self.processes.is_main:
            self.run.truncate_log(self.step if restored else -1)

    def _take_over(self, state: dict[str, Any], tensors: dict[str, dict[str, Tensor]]) -> None:
        """Resume from a checkpoint."""
        self.step, self.phase = state["step"], state["phase"]
        self.done = state.get("done", self.step - sum(earlier.steps for earlier in self.recipe.phases[: self.phase]))
        self._checked = self.step
        if self.phase < len(self.recipe.phases):
            self._start_phase()
        self.best, self._since_best = state["best"], state["since_best"]
        # Earlier versions did not record the initial scores; then there is nothing to compare with.
        self.start, self._worse = state.get("start", {}), state.get("worse", "")
        if self.keep_worse and self._worse:
            # A model withheld at the last check is written at the next, which follows at once.
            self._checked = -1
            self.best = {}
        self.photos.left_out |= self.run.left_out
        if state["scale"]:
            self._scaler.load_state_dict(state["scale"])
        for name, module in {"network": self.network, "average": self.average, **self.objective.parts}.items():
            own, kept = learnt(module), tensors.get(name, {})
            if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in kept.items()}:
                raise UsageError(
                    f"The checkpoint in {self.run.folder} is for another network than '{self.recipe.name}' makes "
                    f"({name}): give the RECIPE and every --set of its first start, or choose another folder with -o."
                )
            module.load_state_dict(kept, strict=False)
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, tensors[f"{name}_optimizer"])


def learnt(module: nn.Module) -> dict[str, Tensor]:
    """A network's tensors without its frozen parts, which are stored elsewhere."""
    return own_tensors(module, getattr(module, "frozen_parts", ()))


def _means(window: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    names = {name: None for terms in window for name in terms}
    return {name: float(np.mean([float(terms[name]) for terms in window if name in terms])) for name in names}


def _refuse_uneven_shares(recipe: Recipe, processes: Processes) -> None:
    """Refuse batches that do not divide evenly: photographs would be dropped or weigh unequally."""
    count = processes.world_size
    for index, phase in enumerate(recipe.phases):
        if phase.batch % (count * phase.accumulate):
            raise UsageError(
                f"The batch of {phase.batch} in phase '{phase.name}' cannot be divided among {count} processes with "
                f"{phase.accumulate} equal parts each: set another one, --set phases.{index}.batch=N."
            )


def _in_steps(recipe: Recipe, photographs: int) -> Recipe:
    """The recipe with all phase lengths in steps."""
    phases = tuple(
        phase
        if phase.steps
        else dataclasses.replace(phase, epochs=0.0, steps=max(1, round(phase.epochs * photographs / phase.batch)))
        for phase in recipe.phases
    )
    return dataclasses.replace(recipe, phases=phases)


def _entries(setup: Setup) -> list[Entry]:
    """The photographs to train on: without the least colourful ones, and with classes, where the recipe says so."""
    entries, data = setup.photos.train, setup.recipe.data
    if data.drop_least_colorful:
        entries = colorful(setup.photos, entries, data.drop_least_colorful, setup.say)
    return pseudo_labelled(setup, entries) if data.labels == "pseudo" else entries


def augmentation(data: DataOptions) -> Augment:
    """How photographs become samples by a recipe."""
    names = {field.name for field in dataclasses.fields(Augment)}
    return Augment(**{name: value for name, value in vars(data).items() if name in names})


def _of_model(recipe: Recipe, card: ModelCard) -> Recipe:
    """The recipe for the network of a model that training starts from, with crops of a size that it takes."""
    if recipe.system and recipe.system != card.system:
        raise UsageError(f"Recipe '{recipe.name}' trains {recipe.system}, but {card.exact_name} is a {card.system}.")
    adjustable = systems().network_class(card.system).adjustable
    set_anew = {name: value for name, value in recipe.network.items() if name in adjustable}
    differing = [
        name for name, value in recipe.network.items() if name not in adjustable and card.network.get(name) != value
    ]
    if differing:
        raise UsageError(
            f"The network of {card.exact_name} is fixed: network.{differing[0]} cannot be changed. Omit it, "
            "or train a new network without --from."
        )
    source, licence = recipe.source or card.source, recipe.licence or card.licence
    data, size = recipe.data, card.size.size
    if data.crop % card.size.multiple_of:
        data = dataclasses.replace(data, crop=size, short_side=(size, size * data.short_side[1] // data.crop))
    return dataclasses.replace(
        recipe,
        system=card.system,
        preset=card.preset,
        network=card.network | set_anew,
        data=data,
        source=source,
        licence=licence,
    )


def _started(recipe: Recipe, start: Sequence[str]) -> tuple[Colorizer | None, Recipe]:
    """The network that training starts from, where there is one, and the recipe for it."""
    if not start:
        return None, recipe
    network, recipe = network_of(*start), _of_model(recipe, find(start[0]))
    for name in network.adjustable:
        if name in recipe.network:
            setattr(network, name, recipe.network[name])
    return network, recipe


def _say_if_few(held_back: int, say: Notify) -> None:
    if held_back < LEAST_HELD_BACK:
        say(
            f"{held_back} photographs are held back; fewer than {LEAST_HELD_BACK} say little; hold back "
            "more with --set data.held_back=SHARE"
        )


def run_recipe(
    recipe: Recipe,
    data: Sequence[Path],
    folder: Path,
    *,
    teacher: Path | None = None,
    start: Sequence[str] = (),
    resume: bool = False,
    seconds: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    device: str = "auto",
    threads: int | None = None,
    keep_worse: bool = False,
    track: Sequence[str] = (),
    command: Sequence[str] = (),
    observe: Observer = lambda _: None,
) -> bool:
    """Train by a recipe into a run folder; True when the recipe is finished, False when time ran out before.

    Args:
        recipe: to follow.
        data: folders of colour photographs, and tar shards.
        folder: the run folder.
        teacher: weights of the teacher, if not those of the extra ``colorcli[train]``.
        start: a model to start from, as ``colorize --model`` takes it, or several, see ``network_of``.
        resume: continue from the folder's checkpoint.
        seconds: stop after about this time.
        stop: checked after every step.
        device: see ``sessions.pytorch.resolve_device``.
        threads: CPU threads of PyTorch.
        keep_worse: see ``Trainer``.
        track: names of experiment trackers, see ``trackers``.
        command: the command line, for the record.
        observe: called with every log record.

    Raises:
        UsageError: the folder holds a run already and ``resume`` is not set.
        OutputError: another process is training into it.
        ColorcliError: as the parts say: no photographs, no teacher, no device, divergence, a full disk.
    """
    check(track)
    if threads is not None:
        torch.set_num_threads(threads)
    processes = Processes.found(resolve_device(device))
    if not (start or recipe.system):
        raise UsageError(f"Recipe '{recipe.name}' adapts a model: name it with --from MODEL.")
    if not start:
        objective(recipe.objective).check(recipe)
    options = recipe.data
    photos = PhotoSet(data, held_back=options.held_back, test=options.test, labels=options.labels, toned=options.toned)
    if not (photos.train and photos.validation):
        left = "to measure by" if photos.train else "to train on"
        share = photos.share_that_splits()
        advice = f"set another share: --set data.held_back={share:g}." if share else "more are needed."
        if recipe.data.test:
            advice = f"a smaller share of data.test than {recipe.data.test:g} leaves some, or none at all."
        raise UsageError(
            f"With data.held_back = {recipe.data.held_back:g}, none of the photographs "
            f"({len(photos.train) + len(photos.validation)}) is left {left}: {advice}"
        )
    network, recipe = _started(recipe, start)
    run = Run(folder)
    if run.begun and not resume:
        raise UsageError(f"{folder} already holds a run: continue it with --resume, or choose another folder with -o.")

    trainer: Trainer | None = None

    def say(what: str) -> None:
        if processes.is_main:
            observe({"step": trainer.step if trainer else 0, "phase": what})

    setup = Setup(recipe, photos, processes.device, (processes.rank, processes.world_size), teacher, network, say)
    try:
        trainer = Trainer(setup, run, processes, keep_worse=keep_worse)
    except BaseException:
        run.discard()
        raise
    with run.locked() if processes.is_main else contextlib.nullcontext():
        if processes.is_main:
            if resume and not trainer.step:
                say(f"there is no checkpoint in {folder} yet: starting from the beginning")
            _describe(trainer, data, command, say)
            run.trackers = trackers(track, folder, trainer.recipe.to_dict(), trainer.step)
            phases = trainer.recipe.phases
            # They may have been given in epochs.
            length = sum(phase.steps for phase in phases)
            observe({"step": trainer.step, "phase": phases[min(trainer.phase, len(phases) - 1)].name, "of": length})
            _say_if_few(len(photos.validation), say)
        try:
            finished = trainer.fit(seconds=math.inf if seconds is None else seconds, stop=stop, observe=observe)
        finally:
            for tracker in run.trackers:
                tracker.close()
    processes.close()
    return finished


def _describe(trainer: Trainer, data: Sequence[Path], command: Sequence[str], say: Notify) -> None:
    """Write into the run folder what the run is made of, and say what differs from an earlier start."""
    run, photos = trainer.run, trainer.photos
    facts = {"roots": [str(root) for root in data], "train": len(photos.train), "validation": len(photos.validation)}
    changed = run.describe(trainer.recipe, facts, list(command), trainer.step)
    run.write_splits(data, photos, say)
    for field, (old, new) in changed.items():
        say(f"continuing with {field} = {new} instead of {old}")
