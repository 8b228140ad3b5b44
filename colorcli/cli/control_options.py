"""The options that steer a network, made from the declarations of its controls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from colorcli.cli.panels import COLOURS
from colorcli.pipeline.controls import Setting, declared_settings

Function = TypeVar("Function", bound=Callable[..., None])


def with_controls(command: Function) -> Function:
    """Give a command that takes ``**asked`` an option for every setting; an option that is not given is None."""
    added = [_parameter(setting) for _, setting in declared_settings()]
    return with_options(command, lambda own: _placed(own, added))


def with_options(command: Function, among: Callable[[list[inspect.Parameter]], list[inspect.Parameter]]) -> Function:
    """Give a command that takes ``**asked`` the parameters that ``among`` makes of its own."""
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    own = [
        one.replace(annotation=hints[one.name])
        for one in signature.parameters.values()
        if one.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    parameters = among(own)
    vars(command)["__signature__"] = signature.replace(parameters=parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _placed(kept: list[inspect.Parameter], added: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """The controls after the model (or models), where help pages are read from the top."""
    position = next(index for index, one in enumerate(kept) if one.name in ("model", "models")) + 1
    return [*kept[:position], *added, *kept[position:]]


def _parameter(setting: Setting) -> inspect.Parameter:
    # What is parsed, such as a class's name, comes as text.
    kind: Any = str if setting.several else setting.kind
    low, high = (None, None) if kind is str else (setting.low, setting.high)
    default = "" if setting.default == setting.unset else f" [default: {setting.default}]"
    option = typer.Option(setting.option, help=f"{setting.help}{default}", min=low, max=high, rich_help_panel=COLOURS)
    return inspect.Parameter(
        setting.keyword,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[kind | None, option],
    )
