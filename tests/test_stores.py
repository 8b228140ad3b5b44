"""Object stores: what is a URL of one, what is tried again, and what is said of errors."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from colorcli import stores
from colorcli.errors import UsageError


def _answering(monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> list[str]:
    """A driver that raises these errors, one a call, then answers; returns the names that it was asked for."""
    asked: list[str] = []

    class Driver:
        def cat_file(self, name: str) -> bytes:
            asked.append(name)
            if errors:
                raise errors.pop(0)
            return b"content"

    monkeypatch.setattr(stores, "_driver_of", lambda scheme: Driver())
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0, 0.0))
    return asked


class _HttpError(Exception):
    """As drivers have them: with a status, and not an OSError."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status


class ClientPayloadError(Exception):
    """By the name of aiohttp's."""


class ReadTimeoutError(Exception):
    """By the name of botocore's."""


class EndpointConnectionError(Exception):
    """By the name of botocore's."""


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket", "s3://bucket"),
        ("gs://b/with @ and ä", "gs://b/with @ and ä"),
    ],
)
def test_a_url_of_a_store(text: str, url: str) -> None:
    """Folders may be given with a slash or without."""
    assert stores.is_url(text)
    assert stores.checked(text) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://AKIA:hushhush@bucket/a", "credentials"),
        ("https://bucket/a?X-Amz-Signature=hushhush", "credentials"),
        ("az://bucket/a?sig=hushhush", "credentials"),
        ("s3://bucket/a#hushhush", "credentials"),
        ("ftp://host/a", "not supported"),
        ("s3://bucket//a", "empty part"),
        ("s3://", "empty part"),
        ("s3://bucket/../a", "empty part"),
    ],
)
def test_a_url_that_is_refused_is_not_repeated_with_its_secrets(text: str, words: str) -> None:
    """Messages land in logs; so credentials in a URL would be in the logs of everybody's jobs."""
    with pytest.raises(UsageError, match=words) as raised:
        stores.checked(text)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("text", ["C:\\photos", "a:b", "photos", "/s3:/a"])
def test_a_path_is_no_url(text: str) -> None:
    """Names with colons stay names."""
    assert not stores.is_url(text)


@pytest.mark.parametrize(
    "error",
    [
        lambda: OSError(errno.EBUSY, "Please reduce your request rate."),
        lambda: _HttpError(503),
        lambda: _HttpError(429),
        lambda: _HttpError(500),
        TimeoutError,
        lambda: ConnectionResetError(errno.ECONNRESET, "reset"),
        lambda: ClientPayloadError("cut off"),
    ],
)
def test_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """A store that slows down for some seconds costs no photograph."""
    asked = _answering(monkeypatch, [error(), error()])
    assert stores.read(stores.checked("s3://bucket/a")) == b"content"
    assert asked == ["bucket/a"] * 3


@pytest.mark.parametrize(
    ("error", "kind", "words", "attempts"),
    [
        (lambda: _HttpError(503), OSError, "too busy", 4),
        (TimeoutError, TimeoutError, "in time", 3),
        (ReadTimeoutError, TimeoutError, "in time", 3),
        (ConnectionResetError, ConnectionError, "connection", 4),
        (ConnectionRefusedError, ConnectionError, "cannot be reached, tried 4 times", 4),
        (lambda: _HttpError(403), PermissionError, "access is denied", 1),
        (lambda: FileNotFoundError("bucket/a"), FileNotFoundError, "no such object", 1),
        (lambda: ValueError("odd"), OSError, "ValueError: odd", 1),
    ],
)
def test_what_stays_is_said_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], kind: type[OSError], words: str, attempts: int
) -> None:
    """Only what may pass is worth waiting for."""
    asked = _answering(monkeypatch, [error() for _ in range(9)])
    with pytest.raises(kind) as raised:
        stores.read(stores.checked("s3://bucket/a"))
    assert words in str(raised.value.strerror)
    assert len(asked) == attempts


@pytest.mark.parametrize(("error", "attempts"), [(EndpointConnectionError, 6), (lambda: _HttpError(503), 7)])
def test_a_wrong_address_is_given_up_before_a_store_that_is_busy(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], attempts: int
) -> None:
    """Who mistyped an endpoint waits for half a minute at most; who is throttled, for as long as that may last."""
    waits, now = stores.WAITS, [0.0]
    asked = _answering(monkeypatch, [error() for _ in range(9)])
    monkeypatch.setattr(stores, "WAITS", waits)
    monkeypatch.setattr("colorcli.stores.random.uniform", lambda least, most: most)
    monkeypatch.setattr("colorcli.stores.time.monotonic", lambda: now[0])
    monkeypatch.setattr("colorcli.stores.time.sleep", lambda seconds: now.append(now.pop() + seconds))
    with pytest.raises(OSError, match="the store"):
        stores.read(stores.checked("s3://bucket/a"))
    assert (len(asked), now[0] < 30) == (attempts, attempts < 7)


def test_the_driver_leaves_trying_again_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attempts would multiply ours to minutes; what a user has configured for it stays."""
    config = pytest.importorskip("fsspec.config")
    monkeypatch.setitem(config.conf, "s3", {"config_kwargs": {"s3": {"addressing_style": "path"}}})
    given = stores._impatience("s3")["config_kwargs"]
    assert given["retries"] == {"max_attempts": 0}
    assert given["s3"] == {"addressing_style": "path"}


def test_a_store_that_never_answers_is_given_up_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run at night would wait for a hanging server until somebody looks."""
    s3fs = pytest.importorskip("s3fs")
    longest = stores.SILENCES * (stores.CONNECT + stores.ANSWER) + sum(stores.WAITS[: stores.SILENCES - 1])
    monkeypatch.setattr(stores, "ANSWER", 0.3)
    monkeypatch.setattr(stores, "WAITS", (0.0,) * len(stores.WAITS))
    asked = 0
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        host, port = silent.getsockname()
        for name, value in {
            "ENDPOINT_URL": f"http://{host}:{port}",
            "ACCESS_KEY_ID": "a",
            "SECRET_ACCESS_KEY": "b",
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        stores._driver_of.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(TimeoutError, match="did not answer in time, tried 3 times"):
            stores.look_up(stores.checked("s3://bucket/a"))
        silent.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                silent.accept()[0].close()
                asked += 1
    stores._driver_of.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    assert 0 < asked <= stores.SILENCES, "each attempt is one connection"
    assert longest < 80


def test_no_secret_is_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drivers put signed addresses and keys into their messages, which are journalled and reported."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hushhush1234")
    text = "https://u:hushhush@host/a?X-Amz-Signature=hushhush failed with hushhush1234"
    _answering(monkeypatch, [ValueError(text)])
    with pytest.raises(OSError, match="ValueError") as raised:
        stores.read(stores.checked("s3://bucket/a"))
    assert "hush" not in str(raised.value)
    assert "host/a" in str(raised.value)


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": datetime(2024, 5, 1, 12, tzinfo=UTC)},
        {"updated": "2024-05-01T12:00:00.000Z"},
        {"last_modified": datetime(2024, 5, 1, 12, tzinfo=UTC)},
        {"created": 1714564800.0},
    ],
)
def test_the_times_of_all_drivers_are_read(info: dict[str, Any]) -> None:
    """By its time an original that was replaced is recognized."""
    assert stores._mtime_ns(info) == 1714564800 * 10**9
