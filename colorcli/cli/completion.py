"""Shell completion of what only this machine knows. Imports neither torch nor anything slow."""

from __future__ import annotations

from colorcli.errors import ColorcliError


def complete_model(incomplete: str) -> list[str]:
    """Names of installed models that begin with ``incomplete``: ``bigcolor``, ``bigcolor@lite``."""
    from colorcli.registry.registry import list_models

    try:
        cards = list_models()
    except ColorcliError:
        # A shell that waits for completions is no place for an error.
        return []
    names = {name for card in cards for name in (card.name, card.exact_name)}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_system(incomplete: str) -> list[str]:
    """Names of systems whose released files can be imported or pulled."""
    from colorcli.registry.importers import importers

    return [name for name in importers() if name.startswith(incomplete)]
