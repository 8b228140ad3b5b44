"""Checks the cards of the bundled models whenever the package is built: one without a licence must not ship."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ValidateCards(BuildHookInterface):
    """The hook that hatch runs before it builds a wheel or a source distribution."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Stop the build where a card is not what it should be."""
        sys.path.insert(0, self.root)
        from colorcli.registry import bundle

        faults = bundle.faults(Path(self.root, "models"))
        if faults:
            raise SystemExit("The bundled models cannot be packaged:\n" + "\n".join(faults))
