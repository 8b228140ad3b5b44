"""The ways of training, by their names in recipes."""

from __future__ import annotations

import inspect

from colorcli.errors import UsageError
from colorcli.train import plugins
from colorcli.train.objectives.base import Objective


def objective(name: str) -> type[Objective]:
    """An objective by the name that recipes give it, of this package or of another one.

    Raises:
        UsageError: there is no such objective, or it cannot be imported, or it is no ``Objective``.
    """
    kind = plugins.load("objectives", name)
    if not (inspect.isclass(kind) and issubclass(kind, Objective)):
        raise UsageError(f"The objective '{name}' is not a subclass of colorcli.train.objectives.base.Objective.")
    return kind
