"""TOML files of the package that are chosen by name, such as recipes, or given by a user as files of his own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from colorcli.errors import UsageError
from colorcli.text import near

_SUFFIX = ".toml"


@dataclass(frozen=True)
class Shelf:
    """The files of one sort.

    Attributes:
        sort: what one of them is called in a sentence, such as ``recipe``.
        package: that has them, in its folder ``folder``.
        listing: a command that lists them; empty if there is none.
    """

    sort: str
    package: str
    folder: str
    listing: str = ""

    def names(self) -> list[str]:
        """Names of the files in the package, with their versions where they have one: ``native@1``."""
        return sorted(one.name.removesuffix(_SUFFIX) for one in self._place.iterdir() if one.name.endswith(_SUFFIX))

    def describe(self, name: str) -> str:
        """Description of a file in the package: its first line."""
        return self._text(name).splitlines()[0].lstrip("# ")

    def read(self, given: str) -> tuple[str | None, str]:
        """A file by its name in the package (without a version: the newest), or else by its path.

        Returns:
            Its name, None for a file of the user; and its text.

        Raises:
            UsageError: there is no such file, or it cannot be read.
        """
        versions = [name for name in self.names() if given in (name, name.partition("@")[0])]
        if versions:
            newest = max(versions, key=lambda name: int(name.partition("@")[2] or 0))
            return newest, self._text(newest)
        path = Path(given)
        if not (given.endswith(_SUFFIX) or path.is_file()):
            raise UsageError(f"There is no {self.sort} '{given}'{near(given, self.names(), self.listing)}")
        try:
            return None, path.read_bytes().decode("utf-8")
        except OSError as error:
            raise UsageError(f"The {self.sort} {path} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"The {self.sort} {path} cannot be read: it is not UTF-8 text.") from error

    @property
    def _place(self) -> Traversable:
        return resources.files(self.package).joinpath(self.folder)

    def _text(self, name: str) -> str:
        return self._place.joinpath(f"{name}{_SUFFIX}").read_text(encoding="utf-8")
