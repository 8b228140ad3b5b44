"""Finding the photographs: folders recursively, files, lists of names, and objects of stores."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path, PurePosixPath

from colorcli import stores
from colorcli.colorize.journal import made_outputs
from colorcli.colorize.memory import no_collecting
from colorcli.errors import OutputError, UsageError
from colorcli.files import STATE_FOLDER, Identity, file_sha256, identity, is_system_folder, name_digest, walk
from colorcli.images.formats import SUFFIXES, is_photograph_name, xmp_names
from colorcli.stores import Object, Url

_NO_URL = Url("")


@dataclass(frozen=True, slots=True)
class Found:
    """A photograph to be coloured; small, since there may be a million.

    Attributes:
        origin: the input that it was found in, or that it is.
        relative: POSIX path relative to that input; what its random code depends on.
        size: bytes, and ``mtime_ns`` when it was found.
        identity: device and inode; the same for two names of one file.
        url: where an object is; empty for a file.
        sidecar: name of the XMP file beside an object, if there is one.
    """

    origin: Source
    relative: str
    size: int
    mtime_ns: int
    identity: Identity
    url: Url = _NO_URL
    sidecar: str = ""

    @property
    def shown(self) -> str:
        """What to call it, as the input was given."""
        return self.url or str(self.path)

    @property
    def source(self) -> str:
        """Where it is: an absolute path or a URL."""
        return self.url or os.path.abspath(self.path)  # noqa: PTH100 - resolve() would follow links

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of its content as it is now. Raises OSError."""
        return stores.sha256(self.url) if self.url else file_sha256(self.path)

    @property
    def path(self) -> Path:
        """The file; of an object, its name alone."""
        if self.url:
            return Path(PurePosixPath(self.relative).name)
        return self.origin.path if self.origin.relative is not None else self.origin.path / self.relative

    @property
    def root(self) -> Path:
        """The output folder."""
        return self.origin.root

    @property
    def target(self) -> str:
        """POSIX path of the output relative to ``root``, before formats, samples and collisions change its name."""
        name = self.relative if self.origin.target is None else self.origin.target
        return f"{self.origin.prefix}/{name}" if self.origin.prefix else name


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


@dataclass(frozen=True, slots=True)
class Source:
    """An input with the output folder that belongs to it.

    Attributes:
        path: a folder or a file.
        root: the output folder.
        prefix: folder below ``root`` for what is found here; empty for none.
        relative: of a file, what to call it; None for a folder.
        target: of a file, where below ``root`` its output goes.
        beside: whether ``root`` is the folder of the original itself.
        url: of a store, instead of ``path``.
        single: the object that ``url`` names, if it names one.
    """

    path: Path
    root: Path
    prefix: str = ""
    relative: str | None = None
    target: str | None = None
    beside: bool = False
    url: Url = _NO_URL
    single: Object | None = None


def sources(inputs: Sequence[Path | Url], listed: Sequence[str], output: Path | None) -> list[Source]:
    """Give every input its output folder.

    Without ``output`` a folder ``old`` goes to ``old_colorized`` beside it, a file ``a.jpg`` to ``a_colorized.jpg``.
    With it, a single folder's tree is mirrored in ``output``; of several folders, each below its own name. ``output``
    may be a file name when the input is a single file. Names from a list are mirrored as they are given.

    Raises:
        UsageError: an input does not exist or cannot be reached, cannot have the output beside it, or the output
            would be the input.
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


@no_collecting()
def discover(
    inputs: Sequence[Source], *, include: Sequence[str] = (), exclude: Sequence[str] = (), output: Url | None = None
) -> Discovery:
    """Find all photographs of the inputs, in an order that depends on their names only.

    Folders are searched recursively, including links to folders, each folder once. Output folders are skipped. In
    folders, files without a photograph's suffix are ignored; a file given by name is taken whatever its suffix.

    Args:
        inputs: from ``sources``.
        include: patterns such as ``*.tif`` or ``1912/*``, matched with the relative path and the name; if there are
            any, one must match.
        exclude: patterns of which none may match.
        output: where in a store the outputs go, which is skipped.

    Raises:
        UsageError: a store cannot be listed.
    """
    discovery = Discovery()
    outputs = {identity(source.root) for source in inputs if source.relative is None}
    seen: set[tuple[Path, str, Identity]] = set()
    for source in inputs:
        for found in _all(source, outputs, output, discovery, include, exclude):
            if isinstance(found, Unusable):
                discovery.unusable.append(found)
                continue
            if len(inputs) > 1:  # the same file may have been given twice
                named = (found.root, found.target, found.identity)
                if named in seen:
                    continue
                seen.add(named)
            discovery.photographs.append(found)
    if len(inputs) > 1:
        discovery.photographs.sort(key=lambda found: (str(found.root), found.relative, found.target))
    else:
        discovery.photographs.sort(key=attrgetter("relative"))
    return discovery


def _all(
    source: Source,
    outputs: set[Identity | None],
    output: Url | None,
    discovery: Discovery,
    include: Sequence[str],
    exclude: Sequence[str],
) -> Iterator[Found | Unusable]:
    if source.url:
        for one, keys in _objects(source, output, discovery):
            if matches(source.relative or one.key, include, exclude):
                yield _found_object(source, one, keys)
        return
    if source.relative is not None:
        if matches(source.relative, include, exclude):
            yield _examine(source, os.fspath(source.path), source.relative)
        return
    top = os.path.join(source.path, "")  # noqa: PTH118 - a Path for each of a million takes longer than the system does
    for relative in _photographs(source, outputs, discovery):
        if matches(relative, include, exclude):
            yield _examine(source, top + relative, relative)


def _sources(inputs: Sequence[Path | Url], listed: Sequence[str], output: Path | None) -> list[Source]:
    first = inputs[0] if len(inputs) == 1 and not listed else None
    if isinstance(first, Path) and output is not None and _names_a_file(first, output):
        return [Source(first, _absolute(output).parent, relative=first.name, target=output.name)]
    several = len(inputs) + bool(listed) > 1
    result = [_source(path, output, several=several) for path in inputs]
    if output is not None:
        result += [_listed(name, _absolute(output)) for name in listed]
    return result


def _names_a_file(path: Path, output: Path) -> bool:
    return path.is_file() and not output.is_dir() and output.suffix.lower() in SUFFIXES


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _source(path: Path | Url, output: Path | None, *, several: bool) -> Source:
    if isinstance(path, str):
        return _store_source(path, output, several=several)
    absolute = _absolute(path)
    if path.is_dir():
        if output is None:
            if not absolute.name:
                raise UsageError(f"The output cannot be placed beside {path}; give a folder with -o.")
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


def _store_source(url: Url, output: Path | None, *, several: bool) -> Source:
    if output is None:
        raise UsageError(f"The output cannot be placed beside {url}; give a folder or a URL with -o.")
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        raise UsageError(f"-o {output} names a file, but a photograph from a store needs a folder; give one.")
    name = stores.name_of(url)
    try:
        single = stores.look_up(url)
    except OSError as error:
        raise UsageError(f"{url} cannot be read: {error.strerror}.") from error
    if single is not None:
        return Source(Path(name), _absolute(output), relative=name, target=name, url=url, single=single)
    return Source(Path(name), _absolute(output), name if several else "", url=url)


def _objects(source: Source, output: Url | None, discovery: Discovery) -> Iterator[tuple[Object, set[str]]]:
    """The photographs below a URL, or the one that it names; each with the keys of the folder that it is in.

    Of a single object, the keys of XMP files beside it.
    """

    def leave(key: str) -> bool:
        name = key.rpartition("/")[2]
        if is_system_folder(name):
            discovery.left_out.append(key)
        return is_system_folder(name) or name == STATE_FOLDER or stores.below(source.url, key) == output

    try:
        if source.single is not None:
            names = xmp_names(stores.name_of(source.url))
            yield source.single, {name for name in names if stores.look_up(stores.beside(source.url, name))}
            return
        nothing = True
        for objects in stores.folders(source.url, leave):
            nothing = False
            keys = {one.key for one in objects}
            for one in objects:
                if is_photograph_name(stores.name_of(one.url)):
                    yield one, keys
                else:
                    discovery.ignored += 1
    except OSError as error:
        raise UsageError(f"{source.url} cannot be read: {error.strerror}.") from error
    if nothing:
        raise UsageError(f"There is nothing at {source.url}.")


def _found_object(source: Source, one: Object, keys: set[str]) -> Found | Unusable:
    relative = source.relative or one.key
    path = PurePosixPath(relative)
    if path.is_absolute() or any(part in ("", ".", "..") for part in relative.split("/")):
        return Unusable(relative, source.root, "has a name that no file can have", failed=True)
    sidecar = next((name for name in xmp_names(path.name) if path.with_name(name).as_posix() in keys), "")
    return Found(source, relative, one.size, one.mtime_ns, object_identity(one.url), one.url, sidecar)


def object_identity(url: Url) -> Identity:
    """What tells an object from files and from other objects."""
    return -1, int.from_bytes(name_digest(url)[:8], "big")


def _listed(name: str, root: Path) -> Source:
    normal = os.path.normpath(name)
    if normal.startswith(".."):
        normal = os.path.abspath(normal)  # noqa: PTH100
    relative = Path(normal)
    if relative.is_absolute():
        relative = relative.relative_to(relative.anchor)
    return Source(Path(name), root, relative=relative.as_posix(), target=relative.as_posix())


def _photographs(source: Source, outputs: set[Identity | None], discovery: Discovery) -> Iterator[str]:
    """Files with a photograph's suffix below a folder, by relative path."""

    def unreadable(relative: str, error: OSError) -> None:
        reason = f"cannot be read: {error.strerror or error}"
        discovery.unusable.append(Unusable(relative, source.root, reason, failed=True))

    made = _Made(source.path)
    for relative in walk(source.path, skip=outputs, unreadable=unreadable, left_out=discovery.left_out.append):
        if not is_photograph_name(relative.rpartition("/")[2]):
            discovery.ignored += 1
        elif made.has(relative):
            discovery.earlier.append(relative)
        else:
            yield relative


class _Made:
    """What runs into a folder, or into one below it, have made; read from their journals, each once."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._bare: set[str] = set()  # folders of which no file is an output, whatever its name
        self._known: dict[str, frozenset[str]] = {}

    def has(self, relative: str) -> bool:
        """Whether a file, by its path relative to the folder, is an output."""
        folder = holder = relative.rpartition("/")[0]
        if holder in self._bare:
            return False
        bare = True
        while True:
            if folder not in self._known:
                place = self._top / folder
                self._known[folder] = made_outputs(place) if (place / STATE_FOLDER).is_dir() else frozenset()
            made = self._known[folder]
            if made and relative.removeprefix(f"{folder}/") in made:
                return True
            bare = bare and not made
            if not folder:
                if bare:
                    self._bare.add(holder)
                return False
            folder = folder.rpartition("/")[0]


def matches(relative: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a relative path is one that the patterns of ``discover`` take."""
    if not include and not exclude:
        return True
    parts = PurePosixPath(relative).parts

    def match(patterns: Sequence[str]) -> bool:
        # a pattern without a slash stands for a file or a folder of that name at any depth
        return any(
            fnmatchcase(relative, pattern)
            or ("/" not in pattern.rstrip("/") and any(fnmatchcase(part, pattern.rstrip("/")) for part in parts))
            for pattern in patterns
        )

    return (not include or match(include)) and not match(exclude)


def _examine(source: Source, path: str, relative: str) -> Found | Unusable:
    try:
        status = os.stat(path)  # noqa: PTH116 - see _all
    except OSError as error:
        return Unusable(relative, source.root, f"cannot be read: {error.strerror or error}", failed=True)
    if not stat.S_ISREG(status.st_mode):
        sort = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        return Unusable(relative, source.root, f"is {sort}, not a file", failed=source.relative is not None)
    return Found(source, relative, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))
