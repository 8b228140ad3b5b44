"""Ways of training and loss terms that other packages add, by entry points. Imports no torch.

``colorcli.objectives``
    subclasses of ``train.objectives.base.Objective``, which recipes name as their ``objective``.
``colorcli.losses``
    functions ``term(made, truth)`` of images ``(N, 3, h, w)`` in sRGB 0..1, which give a scalar tensor; the
    ``weights`` of a recipe's phase may name them.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from colorcli.errors import UsageError

Kind = Literal["objectives", "losses"]

BUILT_IN: dict[str, tuple[EntryPoint, ...]] = {
    "objectives": tuple(
        EntryPoint(name, f"colorcli.train.objectives.{value}", "colorcli.objectives")
        for name, value in (
            ("standard", "standard:Standard"),
            ("bigcolor", "bigcolor:BigColorLite"),
            ("distillation", "distillation:Distillation"),
            ("generative", "generative:Generative"),
        )
    ),
    "losses": (),
}


@cache
def points(kind: Kind) -> dict[str, EntryPoint]:
    """The plug-ins of a kind, by name.

    Raises:
        UsageError: two packages claim the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in (*BUILT_IN[kind], *entry_points(group=f"colorcli.{kind}")):
        known = found.setdefault(point.name, point)
        if known.value != point.value:
            raise UsageError(
                f"Two packages add '{point.name}' to colorcli.{kind}: {known.value} and {point.value}; uninstall one."
            )
    return found


def load(kind: Kind, name: str) -> Any:
    """The object behind a name.

    Raises:
        UsageError: there is none of that name, or it cannot be imported.
    """
    known = points(kind)
    if name not in known:
        raise UsageError(f"There is no '{name}' in colorcli.{kind}; there are: {', '.join(sorted(known)) or 'none'}.")
    try:
        return known[name].load()
    except Exception as error:
        raise UsageError(f"'{name}' of colorcli.{kind} ({known[name].value}) cannot be imported: {error}.") from error
