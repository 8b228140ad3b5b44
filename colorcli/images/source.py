"""Random access to a file's bytes; reads beyond the end return fewer bytes instead of failing."""

from __future__ import annotations

import io
from typing import BinaryIO

from colorcli.images.photo import UnreadableError

_MAX_WHOLE = 1 << 32


class Source:
    """Random access to bytes for parsers, which must survive any file.

    Args:
        data: the bytes, or an open file.
        size: the open file's size in bytes; not needed for bytes.
    """

    def __init__(self, data: bytes | BinaryIO, size: int | None = None) -> None:
        self._data = data
        self.size = len(data) if isinstance(data, bytes) else int(size or 0)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``; fewer where the end comes first."""
        if offset < 0 or count <= 0 or offset >= self.size:
            return b""
        if isinstance(self._data, bytes):
            return self._data[offset : offset + count]
        self._data.seek(offset)
        return self._data.read(count)

    def whole(self) -> bytes:
        """All bytes. Raises ``UnreadableError`` beyond 4 GB."""
        if self.size > _MAX_WHOLE:
            raise UnreadableError("is larger than 4 GB, which is not supported")
        return self._data if isinstance(self._data, bytes) else self.read(0, self.size)

    @property
    def handle(self) -> BinaryIO:
        """The bytes as an open file, for libraries that need one."""
        return io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data
