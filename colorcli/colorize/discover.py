"""Finding the photographs: folders recursively, files, and lists of names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from colorcli.colorize.journal import made_outputs
from colorcli.errors import OutputError, UsageError
from colorcli.files import STATE_FOLDER, Identity, identity, walk
from colorcli.images.formats import SUFFIXES, is_photograph_name


@dataclass(frozen=True, slots=True)
class Found:
    """A photograph to be coloured.

    Attributes:
        path: the file.
        relative: POSIX path relative to the input it was found in; what its random code depends on.
        root: the output folder.
        target: POSIX path of the output relative to ``root``, before formats, samples and collisions change its name.
        size: bytes, and ``mtime_ns`` when it was found.
        identity: device and inode; the same for two names of one file.
    """

    path: Path
    relative: str
    root: Path
    target: str
    size: int
    mtime_ns: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class Unusable:
    """An input that is not a usable photograph or folder; ``failed`` tells failures from harmless cases."""

    relative: str
    root: Path
    reason: str
    failed: bool


@dataclass
class Discovery:
    """What was found in the inputs.

    Attributes:
        photographs: sorted by root and relative path.
        unusable: what should have been photographs or folders and is not.
        ignored: number of other files.
        left_out: system folders for thumbnails and trash.
        earlier: outputs of earlier runs, according to journals among the inputs.
    """

    photographs: list[Found] = field(default_factory=list)
    unusable: list[Unusable] = field(default_factory=list)
    ignored: int = 0
    left_out: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """An input with the output folder that belongs to it.

    Attributes:
        path: a folder or a file.
        root: the output folder.
        prefix: folder below ``root`` for what is found here; empty for none.
        relative: of a file, what to call it; None for a folder.
        target: of a file, where below ``root`` its output goes.
        beside: whether ``root`` is the folder of the original itself.
    """

    path: Path
    root: Path
    prefix: str = ""
    relative: str | None = None
    target: str | None = None
    beside: bool = False


def sources(inputs: Sequence[Path], listed: Sequence[str], output: Path | None) -> list[Source]:
    """Give every input its output folder.

    Without ``output`` a folder ``old`` goes to ``old_colorized`` beside it, a file ``a.jpg`` to ``a_colorized.jpg``.
    With it, a single folder's tree is mirrored in ``output``; of several folders, each below its own name. ``output``
    may be a file name when the input is a single file. Names from a list are mirrored as they are given.

    Raises:
        UsageError: an input does not exist or cannot be reached, or the output would be the input.
        OutputError: the output cannot be reached.
    """
    if listed and output is None:
        raise UsageError("A list of files needs an output folder: -o OUT.")
    try:
        return _sources(inputs, listed, output)
    except OSError as error:  # of a folder on the way that is closed to us
        if output is not None and error.filename == os.fspath(output):
            reason = f"{output} cannot be written: {error.strerror or error}. Choose another folder with -o."
            raise OutputError(reason) from error
        raise UsageError(f"{error.filename} cannot be read: {error.strerror or error}.") from error


def discover(inputs: Sequence[Source], *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Discovery:
    """Find all photographs of the inputs, in an order that depends on their names only.

    Folders are searched recursively, including links to folders, each folder once. Output folders are skipped. In
    folders, files without a photograph's suffix are ignored; a file given by name is taken whatever its suffix.

    Args:
        inputs: from ``sources``.
        include: patterns such as ``*.tif`` or ``1912/*``, matched with the relative path and the name; if there are
            any, one must match.
        exclude: patterns of which none may match.
    """
    discovery = Discovery()
    outputs = {identity(source.root) for source in inputs if source.relative is None}
    seen: set[tuple[Path, str, Identity]] = set()
    for source in inputs:
        if source.relative is not None:
            entries: Iterator[tuple[Path, str]] = iter([(source.path, source.relative)])
        else:
            entries = _photographs(source, outputs, discovery)
        for path, relative in entries:
            if not matches(relative, include, exclude):
                continue
            found = _examine(source, path, relative)
            if isinstance(found, Unusable):
                discovery.unusable.append(found)
                continue
            named = (found.root, found.target, found.identity)
            if named not in seen:  # otherwise the same file was given twice
                seen.add(named)
                discovery.photographs.append(found)
    discovery.photographs.sort(key=lambda found: (str(found.root), found.relative, found.target))
    return discovery


def _sources(inputs: Sequence[Path], listed: Sequence[str], output: Path | None) -> list[Source]:
    if len(inputs) == 1 and not listed and output is not None and _names_a_file(inputs[0], output):
        return [Source(inputs[0], _absolute(output).parent, relative=inputs[0].name, target=output.name)]
    several = len(inputs) + bool(listed) > 1
    result = [_source(path, output, several=several) for path in inputs]
    if output is not None:
        result += [_listed(name, _absolute(output)) for name in listed]
    return result


def _names_a_file(path: Path, output: Path) -> bool:
    return path.is_file() and not output.is_dir() and output.suffix.lower() in SUFFIXES


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _source(path: Path, output: Path | None, *, several: bool) -> Source:
    absolute = _absolute(path)
    if path.is_dir():
        if output is None:
            if not absolute.name:
                raise UsageError(f"{path} has no place beside it for the output; give a folder with -o.")
            return Source(path, absolute.with_name(f"{absolute.name}_colorized"))
        if output.exists() and output.samefile(path):
            raise UsageError(f"The output folder {output} is the input; nothing is written over originals.")
        return Source(path, _absolute(output), absolute.name if several else "")
    if not os.path.lexists(path):
        raise UsageError(f"There is no file or folder {path}.")
    if output is not None:
        return Source(path, _absolute(output), relative=path.name, target=path.name)
    target = f"{path.stem}_colorized{path.suffix}"
    return Source(path, absolute.parent, relative=path.name, target=target, beside=True)


def _listed(name: str, root: Path) -> Source:
    normal = os.path.normpath(name)
    if normal.startswith(".."):
        normal = os.path.abspath(normal)  # noqa: PTH100
    relative = Path(normal)
    if relative.is_absolute():
        relative = relative.relative_to(relative.anchor)
    return Source(Path(name), root, relative=relative.as_posix(), target=relative.as_posix())


def _photographs(source: Source, outputs: set[Identity | None], discovery: Discovery) -> Iterator[tuple[Path, str]]:
    """Files with a photograph's suffix below a folder, each with its relative path."""

    def unreadable(relative: str, error: OSError) -> None:
        reason = f"cannot be read: {error.strerror or error}"
        discovery.unusable.append(Unusable(relative, source.root, reason, failed=True))

    made = _Made(source.path)
    for path, relative in walk(source.path, skip=outputs, unreadable=unreadable, left_out=discovery.left_out.append):
        if not is_photograph_name(path.name):
            discovery.ignored += 1
        elif made.has(path):
            discovery.earlier.append(relative)
        else:
            yield path, relative


class _Made:
    """What runs into a folder, or into one below it, have made; read from their journals, each once."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._bare: set[Path] = set()  # folders of which no file is an output, whatever its name
        self._known: dict[Path, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
        """Whether a file below the folder is an output."""
        folder = holder = path.parent
        if holder in self._bare:
            return False
        bare = True
        while True:
            if folder not in self._known:
                has_state = (folder / STATE_FOLDER).is_dir()
                self._known[folder] = made_outputs(folder) if has_state else frozenset()
            made = self._known[folder]
            if made and path.relative_to(folder).as_posix() in made:
                return True
            bare = bare and not made
            if folder in (self._top, folder.parent):
                if bare:
                    self._bare.add(holder)
                return False
            folder = folder.parent


def matches(relative: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a relative path is one that the patterns of ``discover`` take."""
    parts = PurePosixPath(relative).parts

    def match(patterns: Sequence[str]) -> bool:
        # a pattern without a slash stands for a file or a folder of that name at any depth
        return any(
            fnmatchcase(relative, pattern)
            or ("/" not in pattern.rstrip("/") and any(fnmatchcase(part, pattern.rstrip("/")) for part in parts))
            for pattern in patterns
        )

    return (not include or match(include)) and not match(exclude)


def _examine(source: Source, path: Path, relative: str) -> Found | Unusable:
    try:
        status = path.stat()
    except OSError as error:
        return Unusable(relative, source.root, f"cannot be read: {error.strerror or error}", failed=True)
    if not stat.S_ISREG(status.st_mode):
        sort = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        return Unusable(relative, source.root, f"is {sort}, not a file", failed=source.relative is not None)
    target = source.target if source.target is not None else relative
    target = f"{source.prefix}/{target}" if source.prefix else target
    return Found(
        path, relative, source.root, target, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino)
    )
