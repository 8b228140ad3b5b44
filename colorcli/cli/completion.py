"""Shell completion of names on this machine. Imports nothing slow."""

from __future__ import annotations

from colorcli.errors import ColorcliError


def complete_model(incomplete: str) -> list[str]:
    """Names of installed models that begin with ``incomplete``: ``bigcolor``, ``bigcolor@lite``."""
    from colorcli.registry.registry import list_models

    try:
        cards = list_models()
    except ColorcliError:
        # Completion must not print errors.
        return []
    names = {name for card in cards for name in (card.name, card.exact_name)}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_weights(incomplete: str) -> list[str]:
    """Names of installed models, and of all backbones and metric networks."""
    from colorcli.registry.backbones import folders, known

    others = {*folders(), *known()}
    return sorted({*complete_model(incomplete), *(name for name in others if name.startswith(incomplete))})


def complete_release(incomplete: str) -> list[str]:
    """Names of released models that can be pulled or imported."""
    from colorcli.registry.releases import releases

    return [name for name in releases() if name.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of the bundled recipes."""
    from colorcli.train.recipe import SHELF

    return [name for name in SHELF.names() if name.startswith(incomplete)]


def complete_protocol(incomplete: str) -> list[str]:
    """Ids of the protocols, without a version (the newest) and with one."""
    from colorcli.evaluate.protocols import SHELF

    known = {form for name in SHELF.names() for form in (name, name.split("@")[0])}
    return sorted(form for form in known if form.startswith(incomplete))


def complete_metrics(incomplete: str) -> list[str]:
    """The list so far, extended by each possible metric: ``psnr,ss`` becomes ``psnr,ssim``."""
    from colorcli.evaluate.metrics import METRICS

    so_far, comma, last = incomplete.rpartition(",")
    given = so_far.split(",")
    return [f"{so_far}{comma}{name}" for name in METRICS if name.startswith(last) and name not in given]
