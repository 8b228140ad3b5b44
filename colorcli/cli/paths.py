"""Arguments that are paths of this machine or URLs of stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from colorcli import stores

if TYPE_CHECKING:
    from colorcli.stores import Url

    PathOrUrl = Path | Url
else:
    PathOrUrl = Path  # Typer knows no unions; ``path_or_url`` makes both


def path_or_url(text: str) -> PathOrUrl:
    """A path, or the URL of a store. Raises UsageError for other URLs."""
    return stores.checked(text) if stores.is_url(text) else Path(text)
