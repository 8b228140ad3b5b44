"""``colorcli models``: what is installed, and where weights come from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colorcli.cli import output
from colorcli.cli.command import Command
from colorcli.cli.completion import complete_model, complete_system
from colorcli.errors import ModelError

if TYPE_CHECKING:
    from colorcli.registry.card import ModelCard

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Model = Annotated[
    str, typer.Argument(help="NAME, NAME@TAG, run folder or weights file.", autocompletion=complete_model)
]
System = Annotated[str, typer.Argument(help="The system, such as bigcolor.", autocompletion=complete_system)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace other weights of that name.")]


def list_command(json: Json = False) -> None:
    """List the installed models; the default of each name is marked."""
    from rich.table import Table

    from colorcli.registry.registry import list_models

    cards = list_models()
    defaults = _defaults(cards)
    if json:
        for card in cards:
            output.emit("model", **_record(card), default=card.exact_name in defaults)
        return
    table = Table("Model", "Default", "System", "Preset", "Size", "Controls", "Licence", box=None, pad_edge=False)
    for card in cards:
        mark = "yes" if card.exact_name in defaults else ""
        size, controls = f"{card.size.size} px", ", ".join(card.controls)
        table.add_row(card.exact_name, mark, card.system, card.preset, size, controls, card.licence)
    output.console().print(table)
    if not cards:
        output.note("No model is installed.")


def show(model: Model, json: Json = False) -> None:
    """Show a model's card."""
    from colorcli.registry import toml
    from colorcli.registry.registry import find

    card = find(model)
    if json:
        output.emit("model", **_record(card))
        return
    output.line(f"# {card.folder}")
    output.line(toml.dumps(card.to_dict()).rstrip())


def verify(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models; default: all that are installed.", autocompletion=complete_model)
    ] = None,
    json: Json = False,
) -> None:
    """Check weights against the SHA-256 in their cards."""
    from colorcli.registry import registry

    cards = [registry.find(model) for model in models] if models else registry.list_models()
    failures = 0
    for card in cards:
        reason = None
        try:
            registry.verify(card)
        except ModelError as error:
            reason, failures = str(error), failures + 1
        if json:
            output.emit("model.verified", name=card.reference, ok=reason is None, reason=reason)
        else:
            output.line(f"{card.reference}: {reason or 'ok'}")
    if failures:
        raise ModelError(f"{failures} of {len(cards)} models are not what their cards say.")


def import_command(
    system: System,
    checkpoint: Annotated[Path, typer.Argument(help="The released file, such as EG_011.ckpt.", exists=True)],
    ema: Annotated[
        Path | None, typer.Option(help="Its moving average, such as EG_EMA_011.ckpt.", exists=True, dir_okay=False)
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn officially released files into the model SYSTEM@official. They are read as tensors; no pickle is run."""
    from colorcli.registry.importers import import_model

    card = import_model(system, checkpoint, ema, overwrite=overwrite)
    if ema is None:
        output.note("Without --ema these are the parameters of the last step, not those of the published results.")
    _report_installed(card, json)


def pull(system: System, overwrite: Overwrite = False, json: Json = False) -> None:
    """Fetch a system's released files and import them. The only command that uses the network."""
    from colorcli.registry.importers import pull_model

    with _Transfer() as transfer:
        card, fetched = pull_model(system, overwrite=overwrite, progress=transfer)
    for one in fetched:
        known = "recorded now, as none was published" if one.pinned else "as expected"
        output.note(f"{one.path.name}: SHA-256 {one.sha256} ({known}).")
    _report_installed(card, json)


def default(
    model: Annotated[str, typer.Argument(help="NAME@TAG.", autocompletion=complete_model)], json: Json = False
) -> None:
    """Choose what a bare NAME stands for."""
    from colorcli.registry.registry import set_default

    card = set_default(model)
    if json:
        output.emit("model.default", name=card.name, default=card.exact_name)
    output.note(f"{card.name} now means {card.exact_name}.")


class _Transfer:
    """Progress of downloads: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._last = 0.0

    def __enter__(self) -> Callable[[str, int, int | None], None]:
        if not sys.stderr.isatty():
            return self._say
        from rich import progress

        columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn())
        speed = (progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
        self._bars = progress.Progress(*columns, *speed, console=output.console(stderr=True))
        self._bars.start()
        return self._draw

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _draw(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)

    def _say(self, name: str, done: int, total: int | None) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            output.note(f"{name}: {done / 1e6:.0f} MB" + (f" of {total / 1e6:.0f} MB" if total else ""))


def _defaults(cards: list[ModelCard]) -> set[str]:
    from colorcli.registry.registry import default_card

    found = set()
    for name in {card.name for card in cards}:
        try:
            card = default_card(name, cards)
        except ModelError as error:
            output.note(str(error))
            continue
        if card is not None:
            found.add(card.exact_name)
    return found


def _record(card: ModelCard) -> dict[str, Any]:
    return {"reference": card.reference, **card.to_dict(), "folder": str(card.folder)}


def _report_installed(card: ModelCard, json: bool) -> None:
    if json:
        output.emit("model.installed", **_record(card))
    output.note(f"{card.exact_name} is in {card.folder}; use it with --model {card.exact_name}.")


app.command("list", cls=Command)(list_command)
app.command("show", cls=Command)(show)
app.command("verify", cls=Command)(verify)
app.command("import", cls=Command)(import_command)
app.command("pull", cls=Command)(pull)
app.command("default", cls=Command)(default)
