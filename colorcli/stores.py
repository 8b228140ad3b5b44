"""Object stores by URL: listing, reading and writing through fsspec, with patience and without secrets in messages.

An object is written whole or not at all, which is the stores' own promise; so only kinds of stores that make it are
taken. Credentials and endpoints come from where the drivers look for them: environment, profiles, the machine's role.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NewType, TypeVar, cast

from colorcli import environment
from colorcli.errors import UsageError

T = TypeVar("T")

Url = NewType("Url", str)
"""``scheme://bucket/key`` as ``checked`` returns it, or the same of an object that was listed."""

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts, of which chance takes up to a half: stores slow down whole groups of machines at once."""

REACH = 20.0
"""Seconds after which a store to which no connection can be made is not tried again: its address is probably wrong."""

CONNECT, ANSWER, SILENCES = 10.0, 15.0, 3
"""Seconds to wait for a connection and for each answer, and the attempts after which silence is taken for lasting."""

DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "memory": ""}
"""Kinds of stores, and the package that each needs."""

FAULTS_OF_THE_STORE = frozenset((errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOENT))
"""Errors in writing, of those that functions here raise, that the next object would meet too."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_BUSY, _DENIED = frozenset((429, 503)), frozenset((401, 403))
_PASSING = _BUSY | frozenset((408, 500, 502, 504))
_TIMES = ("LastModified", "last_modified", "updated", "modified", "mtime", "created")
# aiohttp's and botocore's errors of connections, which are no ConnectionErrors
_CUT_OFF = frozenset(
    (
        "ConnectionError",
        "ClientConnectionError",
        "ClientPayloadError",
        "HTTPClientError",
        "IncompleteRead",
    )
)
# errors of waiting for an answer, which are no TimeoutErrors
_UNANSWERED = frozenset(("ReadTimeoutError", "ServiceResponseTimeoutError"))
# of connections that were never made
_UNREACHED = frozenset(
    (
        "ConnectionRefusedError",
        "gaierror",
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ClientConnectorError",
        "ServiceRequestError",
    )
)
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|SAS|CONNECTION_STRING")


class Object(NamedTuple):
    """An object of a store: its URL, its key below what was listed, bytes, and when it was written in nanoseconds."""

    url: Url
    key: str
    size: int
    mtime_ns: int


def is_url(text: str) -> bool:
    """Whether a text is a URL and not a path."""
    return _URL.match(text) is not None


def checked(text: str) -> Url:
    """A URL of a user's, without a slash at its end.

    Raises:
        UsageError: it is none of a store that is supported, or has credentials in it, which are not repeated.
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise UsageError(f"{text} is not a URL.")
    scheme, path = found[1].lower(), found[2].strip("/")
    if "@" in path.partition("/")[0] or re.search(r"[?#]", path):
        raise UsageError(
            f"A {scheme}:// URL holds credentials, a query or a fragment. Leave them out: credentials belong in the "
            "environment or the profile that the driver reads."
        )
    if scheme not in DRIVERS:
        raise UsageError(f"{scheme}:// is not supported; {', '.join(f'{name}://' for name in DRIVERS)} are.")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise UsageError(f"{text} has an empty part; give it as {scheme}://BUCKET/FOLDER.")
    return Url(f"{scheme}://{path}")


def name_of(url: Url) -> str:
    """The last part of a URL."""
    return url.rpartition("/")[2]


def beside(url: Url, name: str) -> Url:
    """The URL of another object in the same folder."""
    return Url(f"{url.rpartition('/')[0]}/{name}")


def below(url: Url, key: str) -> Url:
    """The URL of a key below another URL."""
    return Url(f"{url}/{key}")


def look_up(url: Url) -> Object | None:
    """The object of this URL; None if there is none, although there may be others below it.

    Raises:
        OSError: the store does not answer, or refuses.
    """
    try:
        info = _patiently(lambda: _driver(url).info(_name(url)))
    except FileNotFoundError:
        return None
    return _object(url, _name(url).rpartition("/")[0], info) if info["type"] == "file" else None


def folders(url: Url, leave: Callable[[str], bool] = lambda key: False) -> Iterator[list[Object]]:
    """The objects below a URL, folder by folder, of which one at a time is in memory; none where there is nothing.

    Args:
        url: what to list.
        leave: asked for the key of each folder; those that it is true for are not entered.

    Raises:
        OSError: the store does not answer, or refuses.
    """
    top = _name(url)
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            entries = _patiently(partial(_driver(url).ls, folder, detail=True))
        except FileNotFoundError:
            continue
        objects, inner = [], []
        for entry in entries:
            name = str(entry["name"]).lstrip("/")
            if entry["type"] == "directory":
                inner.append(name.rstrip("/"))
            elif name != folder and not name.endswith("/"):  # an empty object may stand for a folder
                objects.append(_object(url, top, entry))
        yield sorted(objects)
        pending += sorted((name for name in inner if name != folder and not leave(name[len(top) + 1 :])), reverse=True)


def sha256(url: Url) -> str:
    """Hexadecimal SHA-256 of an object. Raises OSError if it cannot be read."""

    def digest() -> str:
        with opened(url, 1 << 23) as file:
            return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()

    return _patiently(digest)


def read(url: Url) -> bytes:
    """The content of an object. Raises OSError if it cannot be read."""
    return cast(bytes, _patiently(lambda: _driver(url).cat_file(_name(url))))


def opened(url: Url, block: int = 1 << 16) -> BinaryIO:
    """An object as an open file of which only what is asked for is fetched, in blocks of so many bytes.

    Raises what the driver raises, here and in reading.
    """
    return cast(BinaryIO, _driver(url).open(_name(url), "rb", block_size=block))


def fetch(url: Url, path: Path) -> None:
    """Copy an object into a file. Raises OSError if it cannot be read, or the file not be written."""
    _patiently(lambda: _driver(url).get_file(_name(url), os.fspath(path)))


def write(url: Url, content: bytes) -> None:
    """Make an object, or replace one. Raises OSError if it cannot be written."""
    _patiently(lambda: _driver(url).pipe_file(_name(url), content))


def put(path: Path, url: Url) -> None:
    """Copy a file into an object, and compare their sizes. Raises OSError if it cannot be written."""
    _patiently(lambda: _driver(url).put_file(os.fspath(path), _name(url)))
    there = look_up(url)
    if there is None or there.size != path.stat().st_size:
        raise OSError(errno.EIO, "the store does not hold what was written")


def remove(url: Url) -> None:
    """Remove an object if it is there. Raises OSError if it cannot be removed."""
    try:
        _patiently(lambda: _driver(url).rm_file(_name(url)))
    except FileNotFoundError:
        return


def _name(url: Url) -> str:
    """Bucket and key, as drivers take them."""
    return url.partition("://")[2]


@cache
def _driver_of(scheme: str) -> Any:
    if scheme != "memory" and environment.offline():
        raise UsageError(f"{scheme}:// cannot be used: COLORCLI_OFFLINE forbids the network.")
    try:
        import fsspec

        driver = fsspec.filesystem(scheme, use_listings_cache=False, **_impatience(scheme))
    except ImportError as error:
        raise UsageError(f"{scheme}:// {environment.needs(DRIVERS[scheme] or 'fsspec', scheme)}") from error
    if scheme == "s3":
        driver.retries = 1
    return driver


def _impatience(scheme: str) -> dict[str, Any]:
    """Arguments with which a driver waits for no longer than we want, and leaves it to ``_patiently`` to try again.

    What the user has configured stays.
    """
    from fsspec.config import conf

    theirs = conf.get(scheme, {})
    if scheme == "s3":
        timeouts = {"connect_timeout": CONNECT, "read_timeout": ANSWER}
        return {"config_kwargs": {**timeouts, "retries": {"max_attempts": 0}, **theirs.get("config_kwargs", {})}}
    ours: dict[str, Any] = {}
    if scheme == "gs":
        from aiohttp import ClientTimeout  # which comes with gcsfs

        ours = {"requests_timeout": ClientTimeout(sock_connect=CONNECT, sock_read=ANSWER)}
    elif scheme == "az":
        ours = {"connection_timeout": int(CONNECT), "read_timeout": int(ANSWER)}
    return {name: value for name, value in ours.items() if name not in theirs}


def _driver(url: Url) -> Any:
    return _driver_of(url.partition("://")[0])


def _object(url: Url, top: str, info: dict[str, Any]) -> Object:
    name = str(info["name"]).lstrip("/")
    scheme = url.partition("://")[0]
    return Object(Url(f"{scheme}://{name}"), name[len(top) + 1 :], int(info["size"]), _mtime_ns(info))


def _mtime_ns(info: dict[str, Any]) -> int:
    """When an object was written; its drivers have a name and a type each for that."""
    when = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        since = when.astimezone(UTC) - datetime.fromtimestamp(0, UTC)
        return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    if isinstance(when, int | float):
        return round(when * 1e6) * 1000
    raise OSError(errno.ENOTSUP, "the store does not say when its objects were written")


def _patiently(action: Callable[[], T]) -> T:
    """What an action returns, tried again after growing waits where its error may pass.

    Raises:
        OSError: of the last attempt, in plain words.
    """
    start, waits = time.monotonic(), iter(WAITS)
    for attempt in itertools.count(1):
        try:
            return action()
        except UsageError:
            raise
        except Exception as error:
            wait = next(waits, None)
            lasts = (_is_silence(error) and attempt >= SILENCES) or (
                _is_one_of(error, _UNREACHED) and time.monotonic() - start + (wait or 0) > REACH
            )
            if wait is None or lasts or not _may_pass(error):
                raise _explained(error, attempt) from error
        time.sleep(wait * random.uniform(0.5, 1.0))
    raise AssertionError  # for type checkers: counting has no end


def _status(error: BaseException) -> int | None:
    """The HTTP status that a driver's error carries, each in its own way."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return cast("int | None", response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    for name in ("status_code", "status", "code"):  # azure, aiohttp, gcsfs
        if isinstance(value := getattr(error, name, None), int | str) and str(value).isdecimal():
            return int(value)
    return None if error.__cause__ is None else _status(error.__cause__)


def _is_busy(error: BaseException) -> bool:
    return _status(error) in _BUSY or (isinstance(error, OSError) and error.errno == errno.EBUSY)


def _is_cut_off(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) or _is_one_of(error, _CUT_OFF | _UNREACHED)


def _is_silence(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or _is_one_of(error, _UNANSWERED)


def _is_one_of(error: BaseException, names: frozenset[str]) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _may_pass(error: BaseException) -> bool:
    if _is_busy(error) or _is_cut_off(error) or _is_silence(error):
        return True
    if (status := _status(error)) is not None:
        return status in _PASSING
    return isinstance(error, OSError) and error.errno == errno.EIO


def _explained(error: Exception, attempts: int) -> OSError:
    """An error whose ``strerror`` is a clause for users that no secret is in."""
    again = f"tried {attempts} times; run again to continue"
    if isinstance(error, FileNotFoundError) or _status(error) == 404:
        known = (errno.ENOENT, "there is no such object or bucket")
    elif isinstance(error, PermissionError) or _status(error) in _DENIED or "Credential" in type(error).__name__:
        known = (errno.EACCES, "access is denied; check the credentials that the driver reads")
    elif _is_busy(error):
        known = (errno.EBUSY, f"the store is too busy (503), {again}")
    elif _is_silence(error):
        known = (errno.ETIMEDOUT, f"the store did not answer in time, {again}")
    elif _is_one_of(error, _UNREACHED):
        known = (errno.ECONNREFUSED, f"the store cannot be reached, tried {attempts} times; check network and endpoint")
    elif _is_cut_off(error):
        known = (errno.ECONNRESET, f"the connection to the store failed, {again}")
    elif isinstance(error, OSError) and error.errno is not None:
        known = (error.errno, without_secrets(error.strerror or str(error)))
    else:
        known = (errno.EIO, without_secrets(f"{type(error).__name__}: {error}"))
    return OSError(*known)  # of the class that belongs to the number


def without_secrets(text: str) -> str:
    """A text without queries and users of URLs, and without the values of variables in which secrets are kept."""
    text = re.sub(r"(://[^\s/?]+\S*?)\?\S+", r"\1?…", re.sub(r"://[^\s/@]+@", "://…@", text))
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name):
            text = text.replace(value, "…")
    return text
