"""File primitives: atomic writes, hashes, walks."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

Identity = tuple[int, int]
"""Device and inode: the same for two names of one file or folder."""

STATE_FOLDER = ".colorcli"
"""What an output folder keeps of its runs; never a source of photographs."""

SYSTEM_FOLDERS = frozenset(
    (
        "@eaDir", ".@__thumb", ".thumbnails", "#recycle", "@Recycle", "$RECYCLE.BIN", "RECYCLER",
        "System Volume Information", ".Trashes", ".Trash", ".AppleDouble", "__MACOSX", ".Spotlight-V100",
        ".fseventsd", ".DocumentRevisions-V100", ".TemporaryItems", "lost+found", ".snapshot", "#snapshot",
    )
)  # fmt: skip
"""Folders in which storage devices and systems keep thumbnails, trash and indexes: no photographs of anybody's."""

PASSING_FAULTS = frozenset((errno.EBUSY, errno.ESTALE, errno.EAGAIN, errno.EIO, getattr(errno, "ETIMEDOUT", errno.EIO)))
"""Errors of network shares, removable disks and virus scanners, which are often gone a moment later."""

_WAITS = (0.1, 0.3, 1.0, 3.0)  # seconds between attempts

_PART_PREFIX, _PART_SUFFIX = ".colorcli-", ".part"


def patiently(
    action: Callable[[], T], faults: Collection[int] = PASSING_FAULTS, *, going_on: Callable[[], bool] = lambda: True
) -> T:
    """What ``action`` returns, tried again after growing waits (4.4 seconds in all) where it raises a passing fault.

    Args:
        action: may be done again after it failed.
        faults: error numbers that may pass.
        going_on: whether it is worth another attempt.

    Raises:
        OSError: of the last attempt, or of the first with another error number.
    """
    for wait in _WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno not in faults or not going_on():
                raise
            time.sleep(wait)
    return action()


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file so that it is never seen half-written.

    Raises:
        OSError: the folder cannot be written.
    """
    # Cut short, since the name may already have the maximal length.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private to their owner.
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def part_path(target: Path) -> Path:
    """Temporary path of ``target``: in the same folder, with the same name for every attempt.

    The name is a hash, so that targets with names of 255 bytes have one too. The next run overwrites what a killed run
    left.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f"{_PART_PREFIX}{digest}{_PART_SUFFIX}")


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """The path under which to make a file that becomes ``target`` when the block ends: absent, as it was, or whole.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    part = part_path(target)
    try:
        part.unlink(missing_ok=True)
        yield part
        descriptor = os.open(part, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # copies may be read-only
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename survives a power cut, where the system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 as ``file_sha256`` writes it."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def has_size(path: Path, size: object, *, follow: bool = True) -> bool:
    """Whether there is a file of so many bytes; a link is looked through unless ``follow`` is false."""
    try:
        return path.stat(follow_symlinks=follow).st_size == size
    except OSError:
        return False


def name_digest(name: str) -> bytes:
    """SHA-256 of a name, UTF-8 or not: for random choices among photographs that are the same on every machine."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def identity(path: str | Path) -> Identity | None:
    """Device and inode of ``path``, following links; None if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116 - walks ask with strings, see there
    except OSError:
        return None
    return status.st_dev, status.st_ino


def walk(
    folder: Path,
    *,
    skip: Collection[Identity | None] = (),
    regular: bool = False,
    unreadable: Callable[[str, OSError], None],
    left_out: Callable[[str], None] = lambda relative: None,
) -> Iterator[str]:
    """Every file below a folder, by its POSIX path relative to it, in an order that depends on names only.

    Links to folders are followed, but each folder is entered only once, under its own name. Our state folders and
    ``SYSTEM_FOLDERS`` are skipped.

    Args:
        folder: to start from.
        skip: folders not to enter.
        regular: skip pipes, devices and broken links.
        unreadable: called with the relative path of an unreadable folder, and the error.
        left_out: called with the relative path of a skipped system folder.
    """
    visited = set(skip)
    pending, links = [""], list[str]()
    while pending or links:
        prefix = pending.pop() if pending else links.pop(0)
        current = os.path.join(folder, prefix)  # noqa: PTH118 - a Path for each of a million costs more than the walk
        known = identity(current)
        if known in visited:
            continue
        visited.add(known)
        try:
            # scandir gives file types with the names, which saves a million calls of stat.
            with os.scandir(current) as scan:
                entries = sorted(scan, key=attrgetter("name"))
        except OSError as error:
            unreadable(prefix.rstrip("/") or ".", error)
            continue
        below: list[str] = []
        for entry in entries:
            relative = prefix + entry.name
            if _is_folder(entry):
                if is_system_folder(entry.name):
                    left_out(relative)
                elif entry.name != STATE_FOLDER:
                    (links if entry.is_symlink() else below).append(f"{relative}/")
            elif not regular or _is_regular(entry):
                yield relative
        pending += reversed(below)


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name holds thumbnails, trash or indexes of a storage device or system."""
    return name in SYSTEM_FOLDERS or name.startswith(".Trash-")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link loop, or a link through an unreadable folder
        return False


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def is_debris(name: str) -> bool:
    """Whether a name is that of a temporary file of ours, or of a macOS resource fork such as ``._x.jpg``."""
    return name.startswith("._") or (name.startswith(_PART_PREFIX) and name.endswith(_PART_SUFFIX))
