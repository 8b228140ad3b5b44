"""How help pages show options: in panels if a command has many, and with short names of types."""

from __future__ import annotations

from typing import Any

COLOURS = "Colours"
_PANELS = {
    COLOURS: ("size", "render-factor", "strength", "vividness", "uncertainty"),
    "Speed and machines": (
        *("backend", "device", "precision", "compile", "batch-size", "jobs"),
        *("engine", "address", "workers", "gpus-per-worker"),
    ),
    "Which photographs, and how they are read": (
        *("include", "exclude", "files-from", "limit", "shard", "picks"),
        *("recolor", "pages", "negative", "salvage", "max-megapixels"),
    ),
    "How outputs are written": ("format", "quality", "output-profile", "keep-times", "mark"),
    "Proof and handing over": (
        *("verify", "manifest", "sidecar", "bag", "c2pa-key", "c2pa-certificate", "c2pa-timestamp"),
    ),
    "Messages": ("json", "quiet", "verbose", "debug", "help"),
}
_PANEL_OF = {f"--{name}": panel for panel, names in _PANELS.items() for name in names}
_MANY = 25

# Typer's names of types, and what they are called here; a switch takes nothing
_KINDS = {
    "bool": "", "str": "TEXT", "list[str]": "TEXT", "path": "PATH", "file": "PATH", "list[Path]": "PATH",
    "int": "N", "int range": "N", "float": "NUMBER", "float range": "NUMBER",
}  # fmt: skip


def arrange(params: list[Any]) -> list[Any]:
    """Give the parameters of a command their panels and short types; returns them."""
    options = [param for param in params if param.param_type_name == "option"]
    for param in options if len(options) > _MANY else ():
        panel = next((_PANEL_OF[option] for option in param.opts if option in _PANEL_OF), None)
        if panel is not None:
            vars(param)["rich_help_panel"] = panel
    for param in params:
        if hasattr(param, "display_type"):  # Typer from 0.26 on; earlier ones have short types
            vars(param)["display_type_rich"] = _Kind(param)
            if param.param_type_name == "argument" and param.metavar is None:
                vars(param)["metavar"] = param.name.upper()
    return params


class _Kind:
    """Replaces a parameter's ``display_type_rich``."""

    def __init__(self, param: Any) -> None:
        self._param = param

    def __call__(self, ctx: Any) -> str:
        if self._param.param_type_name == "argument":
            return ""  # its name says it
        if self._param.metavar is not None:
            return str(self._param.metavar)
        kind = str(self._param.display_type(ctx)).removeprefix("<").removesuffix(">")
        return _KINDS.get(kind, kind)
