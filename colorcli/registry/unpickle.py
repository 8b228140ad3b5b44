"""Reads PyTorch's checkpoints, in both formats, as tensors and plain containers. Nothing in them is ever run.

A checkpoint is a pickle, which is a program: it names functions and calls them. Only five names mean anything here (an
ordered dictionary, a tensor, a parameter, a storage and its type), and all of them are handled by this module; every
other name, be it ``functools.partial`` or ``os.system``, becomes the class ``Inert``, which does nothing.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# Formats by their first bytes: a zip file, and the older format's magic number as it is pickled.
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_TYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}

# A file of a few kilobytes can inflate to gigabytes. Pickles of released files have less than a megabyte, and PyTorch
# does not compress; what others compress shrinks by less than a half.
_MOST_PICKLE = 64 << 20
_MOST_SHRUNK = 100


class TruncatedError(Exception):
    """The file ends before its content does."""


class ForeignError(Exception):
    """The file is not a checkpoint; ``beginning`` holds its first bytes."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__()
        self.beginning = beginning


class Inert:
    """Stands in for every unknown name: it can be called, filled and given a state, and does nothing."""

    name = ""

    def __new__(cls, *_: object, **__: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> Inert:
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Ignore a member of a list."""

    def extend(self, values: object) -> None:
        """Ignore members of a list."""

    def add(self, value: object) -> None:
        """Ignore a member of a set."""


class _Storage:
    """A block of numbers in a checkpoint, located after the pickle that refers to it has been read."""

    def __init__(self, key: str, dtype: str, count: int) -> None:
        self.key, self.dtype, self.count = key, dtype, count


class _View:
    """A tensor: part of a storage."""

    def __init__(
        self, storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> None:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        self.storage, self.offset, self.size, self.stride = storage, int(offset), tuple(size), tuple(stride)


class _Type:
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _Unpickler(pickle._Unpickler):
    """An unpickler that knows tensors and nothing else.

    It is the one in Python, since that in C makes room for a billion objects if a pickle of ten bytes says so.
    """

    def __init__(self, file: IO[bytes], storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._storages = storages
        # New objects for every file: a pickle may set attributes on whatever it is handed.
        self._known: dict[tuple[str, str], Callable[..., object]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): type("View", (_View,), {}),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "torch" and global_name in _TYPES:
            return _Type(_TYPES[global_name])
        known = self._known.get((module_name, global_name))
        if known is not None:
            return known
        return type("Inert", (Inert,), {"name": f"{module_name}.{global_name}"})

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, data_type, key, _, count, *view = pid
        if kind != "storage" or not isinstance(data_type, _Type) or any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage of another kind")
        found = self._storages.setdefault(str(key), _Storage(str(key), data_type.dtype, int(count)))
        if (found.dtype, found.count) != (data_type.dtype, int(count)):
            raise pickle.UnpicklingError("two storages of one name")
        return found


def load(path: Path) -> Any:
    """The content of a checkpoint: tensors, dictionaries, lists, numbers and text, and ``Inert`` in place of the rest.

    Tensors are memory-mapped, and copied only when they are changed.

    Raises:
        ForeignError: the file is not a checkpoint.
        TruncatedError: the file ends too early.
        OSError: the file cannot be read.
        Exception: the file is damaged: ``pickle.UnpicklingError``, or anything else that a broken pickle can raise.
    """
    storages: dict[str, _Storage] = {}
    with path.open("rb") as file:
        beginning = file.read(64)
    if beginning.startswith(_ZIP):
        content, numbers = _read_zip(path, storages)
    elif _LEGACY in beginning:
        content, numbers = _read_legacy(path, storages)
    else:
        raise ForeignError(beginning)
    return _resolved(content, numbers, {})


def inert_name(content: object) -> str:
    """The first name in a container whose code would have to be run; empty if there is none."""
    pending, seen = deque([content]), set()
    while pending:
        item = pending.popleft()
        if isinstance(item, Inert) or (isinstance(item, type) and issubclass(item, Inert)):
            return item.name
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            pending.extend((*item.keys(), *item.values()))
        elif isinstance(item, list | tuple | set | frozenset):
            pending.extend(item)
    return ""


def _read_zip(path: Path, storages: dict[str, _Storage]) -> tuple[Any, Callable[[_Storage], Tensor]]:
    if not zipfile.is_zipfile(path):
        raise TruncatedError  # a zip file's table of contents is at its end
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
    if not names:
        raise ForeignError(_ZIP)
    if len(names) > 1:
        raise pickle.UnpicklingError("several data.pkl")
    folder = names[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise pickle.UnpicklingError("numbers of another byte order")
    if archive.getinfo(names[0]).file_size > _MOST_PICKLE:
        raise pickle.UnpicklingError("a pickle of many megabytes")
    with archive.open(names[0]) as file:
        content = _Unpickler(file, storages).load()

    def numbers(storage: _Storage) -> Tensor:
        info = archive.getinfo(f"{folder}data/{storage.key}")
        if info.compress_type != zipfile.ZIP_STORED:
            if info.file_size > _MOST_SHRUNK * info.compress_size + _MOST_PICKLE:
                raise pickle.UnpicklingError("a storage that shrank too much")
            return _as_tensor(np.frombuffer(bytearray(archive.read(info)), np.uint8), storage)
        with archive.open(info):  # checks the member's own header
            pass
        with path.open("rb") as file:
            file.seek(info.header_offset + 26)
            lengths = np.frombuffer(file.read(4), "<u2")
        start = info.header_offset + 30 + int(lengths.sum())
        return _as_tensor(_mapped(path, start, info.file_size), storage)

    return content, numbers


def _read_legacy(path: Path, storages: dict[str, _Storage]) -> tuple[Any, Callable[[_Storage], Tensor]]:
    starts: dict[str, int] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            # magic number, format version, the machine that wrote it, the content; then the storages' names
            _, _, _, content = (_Unpickler(file, storages).load() for _ in range(4))
            keys = _Unpickler(file, storages).load()
        except (EOFError, struct.error) as error:
            raise TruncatedError from error
        for key in keys:
            storage = storages[str(key)]
            header = file.read(8)
            starts[storage.key] = file.tell()
            end = file.tell() + storage.count * _dtype(storage).itemsize
            if len(header) < 8 or end > size:
                raise TruncatedError
            if int.from_bytes(header, "little") != storage.count:
                raise pickle.UnpicklingError("a storage of another length")
            file.seek(end)

    def numbers(storage: _Storage) -> Tensor:
        length = storage.count * _dtype(storage).itemsize
        return _as_tensor(_mapped(path, starts[storage.key], length), storage)

    return content, numbers


def _mapped(path: Path, start: int, length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if not length:
        return np.empty(0, np.uint8)
    if start + length > path.stat().st_size:
        raise TruncatedError
    mapped = np.memmap(path, np.uint8, "c", start, (length,))
    # PyTorch needs aligned numbers
    return mapped if start % 8 == 0 else np.array(mapped)


def _dtype(storage: _Storage) -> Any:
    import torch

    return getattr(torch, storage.dtype)


def _as_tensor(raw: np.ndarray[Any, np.dtype[np.uint8]], storage: _Storage) -> Tensor:
    import torch

    if raw.nbytes != storage.count * _dtype(storage).itemsize:
        raise pickle.UnpicklingError("a storage of another length")
    return torch.from_numpy(raw).view(_dtype(storage)) if storage.count else torch.empty(0, dtype=_dtype(storage))


def _resolved(content: Any, numbers: Callable[[_Storage], Tensor], done: dict[int, Any]) -> Any:
    """The content with its tensors in place. Shared objects are resolved once: a file may refer to itself endlessly."""
    import torch

    if id(content) in done:
        return done[id(content)]
    made: Any = content
    if isinstance(content, _View):
        flat = done.get(id(content.storage))
        if flat is None:
            flat = done[id(content.storage)] = numbers(content.storage)
        # PyTorch refuses views that reach beyond the storage.
        made = torch.as_strided(flat, content.size, content.stride, content.offset)
    elif isinstance(content, dict):
        made = done[id(content)] = {}
        for key, value in content.items():
            made[key] = _resolved(value, numbers, done)
    elif isinstance(content, list):
        made = done[id(content)] = []
        made += [_resolved(value, numbers, done) for value in content]
    elif isinstance(content, tuple):
        made = tuple(_resolved(value, numbers, done) for value in content)
    done[id(content)] = made
    return made
