"""``colorcli models``: what is installed, and where weights come from."""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colorcli.cli import output
from colorcli.cli.command import Command
from colorcli.cli.completion import complete_model, complete_release, complete_weights
from colorcli.errors import ModelError, StoppedError
from colorcli.stopping import Stop, ended_by, stopping_on_signals

if TYPE_CHECKING:
    from colorcli.registry.backbones import Backbone
    from colorcli.registry.card import ModelCard

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Model = Annotated[
    str,
    typer.Argument(
        help="NAME, NAME@TAG, run folder, weights file, or the name of a backbone.", autocompletion=complete_weights
    ),
]
Released = Annotated[
    str, typer.Argument(help="A name that 'models list --all' shows.", autocompletion=complete_release)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing weights of that name.")]


def list_command(
    everything: Annotated[
        bool, typer.Option("--all", help="Include backbones, metric networks, and what can be pulled.")
    ] = False,
    json: Json = False,
) -> None:
    """List the installed models; the default of each name is marked."""
    from rich.table import Table

    from colorcli.pipeline.controls import options
    from colorcli.registry.registry import list_models

    cards = list_models()
    defaults = _defaults(cards)
    others = _others() if everything else []
    if json:
        for card in cards:
            output.emit("model", **_record(card), default=card.exact_name in defaults)
        for other in others:
            output.emit("release", **other)
        return
    table = Table("Model", "Default", "Size", "Options", "Licence", box=None, pad_edge=False)
    for card in cards:
        mark = "yes" if card.exact_name in defaults else ""
        # The grounds of the licence, and everything else, are in the card.
        licence = card.licence.partition(":")[0]
        table.add_row(card.exact_name, mark, f"{card.size.size} px", options(card.controls), licence)
    output.console().print(table)
    if not cards:
        output.note("No model is installed.")
    elif not everything:
        output.note("colorcli models show NAME: its card; models list --all: what can be pulled.")
    if others:
        table = Table("To pull or import", "Kind", "MB", "Here", "Licence", "What", box=None, pad_edge=False)
        for other in others:
            here = "yes" if other["installed"] else ""
            licence = re.split("[:,;(]", other["licence"])[0].strip()
            table.add_row(other["name"], other["kind"], f"{other['bytes'] / 1e6:.0f}", here, licence, other["title"])
        output.console().print()
        output.console().print(table)
        output.note("colorcli docs models: which to use for what, and how long each takes.")


def show(model: Model, json: Json = False) -> None:
    """Show the card of a model, a backbone, or of something that can be pulled."""
    import tomli_w

    from colorcli.pipeline.controls import option_names
    from colorcli.registry.registry import find
    from colorcli.registry.releases import release, released_model

    others = {other["name"]: other for other in _others()}
    entry = released_model(model)
    other = others.get(model if entry is None else entry.name)
    try:
        card = find(model)
    except ModelError:
        if other is None and (close := difflib.get_close_matches(model, others, 1)):
            raise ModelError(f"There is no model '{model}'; did you mean {close[0]}?") from None
        if other is None:
            raise
        if json:
            output.emit("release", **other)
            return
        output.line(f"# {other['folder'] or release(other['name']).absent()}")
        output.line(tomli_w.dumps({key: value for key, value in other.items() if value not in (None, {})}).rstrip())
        return
    if json:
        output.emit("model", **_record(card))
        return
    output.line(f"# {card.folder}")
    # People need the options; the names of the network's inputs are for --json.
    shown = {
        "options" if key == "controls" else key: option_names(card.controls) if key == "controls" else value
        for key, value in card.to_dict().items()
    }
    output.line(tomli_w.dumps(shown).rstrip())


def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Models and backbones; default: all that are installed.", autocompletion=complete_weights),
    ] = None,
    json: Json = False,
) -> None:
    """Check weights against their recorded SHA-256."""
    from colorcli.registry import backbones, registry

    shared = backbones.folders()
    names = models or [*(card.exact_name for card in registry.list_models()), *shared]
    failures = 0
    for name in names:
        card = None if name in shared else registry.find(name)
        reference = card.reference if card else name
        reason = None
        try:
            with output.waiting(f"Reading {reference}"):
                if card is None:
                    backbones.verify(name)
                else:
                    registry.verify(card)
        except ModelError as error:
            reason, failures = str(error), failures + 1
        if json:
            output.emit("model.verified", name=reference, ok=reason is None, reason=reason)
        else:
            output.line(f"{reference}: {reason or 'ok'}")
    if failures:
        raise ModelError(f"{failures} of {len(names)} weights do not match their recorded SHA-256.")


def import_command(
    name: Released,
    files: Annotated[
        list[Path],
        typer.Argument(help="The released files, such as EG_011.ckpt, in order; or a run folder.", exists=True),
    ],
    ema: Annotated[
        Path | None, typer.Option(help="Its moving average, such as EG_EMA_011.ckpt.", exists=True, dir_okay=False)
    ] = None,
    tag: Annotated[
        str, typer.Option(help="Install as NAME@TAG: required for a file that is not the published one.")
    ] = "",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Install released files as NAME@official (or their own tag) or as a backbone; or a backbone that a run trained.

    Files are read as tensors; no pickle is run.
    """
    from colorcli.registry.importers import import_files

    installed = import_files(name, [*files, *([ema] if ema else [])], tag=tag, overwrite=overwrite)
    if name == "bigcolor" and ema is None and len(files) == 1:
        output.note("Without --ema these are the parameters of the last step, not those of the published results.")
    _report_installed(installed, json)


def pull(
    name: Released,
    print_url: Annotated[
        bool,
        typer.Option("--print-url", help="Download nothing; print the addresses, for a machine without a network."),
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Download released files and import them. Other commands use the network only for URLs that you give."""
    from colorcli.registry import importers

    if print_url:
        _print_addresses(name, json)
        return
    stop = Stop()
    try:
        with _Transfer() as transfer, stopping_on_signals(stop, lambda: output.note("Stopping; Ctrl-C again aborts.")):
            installed, fetched = importers.pull(name, overwrite=overwrite, progress=transfer, stopped=stop)
    except StoppedError as error:
        output.note(str(error))
        raise typer.Exit(int(ended_by(stop.signal_number))) from error
    for one in fetched:
        known = "recorded now, as none was published" if one.pinned else "as expected"
        output.note(f"{one.path.name}: SHA-256 {one.sha256} ({known}).")
    if not fetched:
        output.note(f"Nothing was fetched: {name} is installed already.")
    _report_installed(installed, json)


def _print_addresses(name: str, json: bool) -> None:
    from colorcli.registry.releases import release

    entry = release(name)
    for remote in entry.files:
        if not remote.url:
            raise ModelError(f"{remote.name} of {entry.name} has no published address.")
        if json:
            output.emit("release.file", name=remote.name, url=remote.url, sha256=remote.sha256_prefix)
        else:
            output.line(remote.url)
        held = f"SHA-256 {remote.sha256_prefix}" if remote.sha256_prefix else "no SHA-256 is published"
        output.note(f"{remote.name}: {held}.")
    names = [remote.name for remote in entry.files]
    if entry.model == "bigcolor":
        names.insert(1, "--ema")
    output.note(f"On the machine that needs them: colorcli models import {entry.name} {' '.join(names)}")


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


def _others() -> list[dict[str, Any]]:
    """What can be pulled or imported, and all installed backbones."""
    from colorcli.environment import user_models_dir
    from colorcli.registry import backbones
    from colorcli.registry.releases import releases

    here = backbones.installed()
    found = []
    for name, entry in releases().items():
        folder = user_models_dir() / entry.exact_name if entry.kind == "model" else None
        backbone = here.pop(name, None)
        if backbone is not None:
            folder = backbone.folder
        files = [{"name": remote.name, "url": remote.url, "sha256": remote.sha256_prefix} for remote in entry.files]
        found.append(
            {
                "name": name,
                "kind": entry.kind,
                "title": entry.title,
                "licence": entry.licence,
                "paper": entry.paper,
                "bytes": entry.bytes,
                "files": files,
                "installed": folder is not None and folder.is_dir(),
                "folder": str(folder) if folder is not None and folder.is_dir() else None,
                "weights": {"sha256": backbone.sha256} if backbone is not None else {},
            }
        )
    for name, backbone in here.items():
        record = {"bytes": backbones.locate(name).stat().st_size, "installed": True, "folder": str(backbone.folder)}
        found.append({**backbone.to_dict(), "files": [], **record})
    return found


def _record(card: ModelCard) -> dict[str, Any]:
    return {"reference": card.reference, **card.to_dict(), "folder": str(card.folder)}


def _report_installed(installed: ModelCard | Backbone, json: bool) -> None:
    from colorcli.registry.card import ModelCard

    if isinstance(installed, ModelCard):
        if json:
            output.emit("model.installed", **_record(installed))
        name = installed.exact_name
        output.note(f"{name} is in {installed.folder}; use it with --model {name}.")
        _say_origin(name, installed.source.get("origin", ""), installed.source.get("files", {}))
        return
    if json:
        output.emit("backbone.installed", **installed.to_dict(), folder=str(installed.folder))
    output.note(f"{installed.name} is in {installed.folder}, SHA-256 {installed.sha256}.")
    _say_origin(installed.name, installed.origin, installed.files)
    if installed.training:
        from colorcli.registry.importers import built_on

        presets = ", ".join(built_on(installed.name))
        use = f"built on it: {presets}" if presets else f"recipes can start from it: --set init.PART={installed.name}"
        output.note(f"{use[0].upper()}{use[1:]}.")


def _say_origin(name: str, origin: str, files: dict[str, str]) -> None:
    """What is known about imported files, and the hashes recorded where none are published."""
    from colorcli.registry.importers import Origin

    if origin == Origin.UNKNOWN:
        found = ", ".join(f"{file} {sha256}" for file, sha256 in files.items())
        output.note(f"{name} is {origin}; SHA-256 recorded: {found}.")
    elif origin:
        output.note(f"{name} is {origin}.")


app.command("list", cls=Command)(list_command)
app.command("show", cls=Command)(show)
app.command("verify", cls=Command)(verify)
app.command("import", cls=Command)(import_command)
app.command("pull", cls=Command)(pull)
app.command("default", cls=Command)(default)
