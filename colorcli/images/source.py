"""Bytes by position, from a file or from memory, short at the end instead of failing."""

from __future__ import annotations

from typing import BinaryIO


class Source:
    """Random access to bytes for the header parsers, which must survive any file."""

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
