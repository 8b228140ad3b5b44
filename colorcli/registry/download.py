"""Fetches released files: the only code that uses the network."""

from __future__ import annotations

import hashlib
import http.cookiejar
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import colorcli
from colorcli.environment import data_dir, offline
from colorcli.errors import ModelError, StoppedError
from colorcli.files import write_atomically
from colorcli.registry.releases import Remote

Progress = Callable[[str, int, int | None], None]

_TIMEOUT = 30.0
_ATTEMPTS = 4
_CHUNK = 1 << 20
_PAGE_LIMIT = 1 << 20
_DRIVE_HOSTS = {"drive.google.com", "drive.usercontent.google.com", "docs.google.com"}


class _BrokenOffError(Exception):
    """The connection ended before the file was complete."""


_LINE_FAULTS = (
    urllib.error.URLError,
    HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
    _BrokenOffError,
)


@dataclass(frozen=True)
class Fetched:
    """A fetched file: path, SHA-256, and whether the hash was ``pinned`` (recorded for the first time)."""

    path: Path
    sha256: str
    pinned: bool


def fetch(
    remote: Remote,
    folder: Path,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Fetched:
    """Fetch a file into ``folder``, resuming an earlier attempt.

    The SHA-256 must match the published one, if known, and the one recorded ("pinned") in the data folder when this
    file was first fetched.

    Args:
        remote: the file to fetch.
        folder: folder to fetch into, created if missing; the unfinished file is ``name.part`` there.
        progress: called with (name, bytes so far, total bytes or None).
        stopped: whether to stop; the next call resumes.

    Raises:
        StoppedError: ``stopped`` returned true.
        ModelError: the machine is offline, the server cannot be reached or refuses, or the file is too large,
            incomplete, not the expected one, or cannot be stored.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _require_network(remote)

            def watched(name: str, done: int, total: int | None) -> None:
                _go_on(remote, stopped)
                if progress is not None:
                    progress(name, done, total)

            _go_on(remote, stopped)
            _fetch_part(remote, part, watched, stopped)
            part.replace(target)
            _validator(part).unlink(missing_ok=True)
        return _check(remote, target)
    except OSError as error:
        raise ModelError(f"{remote.name} could not be stored in {folder}: {error.strerror or error}.") from error


def _require_network(remote: Remote) -> None:
    if offline():
        raise ModelError(f"{remote.name} cannot be fetched: COLORCLI_OFFLINE forbids the network.")


def _go_on(remote: Remote, stopped: Callable[[], bool]) -> None:
    if stopped():
        raise StoppedError(f"Stopped while fetching {remote.name}; run again to continue.")


def _fetch_part(remote: Remote, part: Path, progress: Progress, stopped: Callable[[], bool]) -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    opener.addheaders = [("User-Agent", f"colorcli/{colorcli.__version__}")]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _transfer(remote, part, opener, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:
                raise ModelError(f"{remote.url} answered {error.code} {error.reason}; try again later.") from error
        except _LINE_FAULTS as error:
            # Not a single byte means no network; retrying would only hide that.
            if attempt == _ATTEMPTS or not part.exists():
                raise _unreachable(remote, part, error) from error
        else:
            return
        for _ in range(10 * min(2 ** (attempt - 1), 8)):
            _go_on(remote, stopped)
            time.sleep(0.1)


def _unreachable(remote: Remote, part: Path, error: Exception) -> ModelError:
    reason = getattr(error, "reason", None) or error
    if part.exists():
        return ModelError(f"The connection broke while fetching {remote.name} ({reason}); run again to continue.")
    host = urllib.parse.urlsplit(remote.url).hostname
    return ModelError(
        f"{remote.name} cannot be fetched: {host} is not reachable ({reason}); "
        "--print-url lists what to fetch on another machine."
    )


def _transfer(remote: Remote, part: Path, opener: urllib.request.OpenerDirector, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(remote, part, have, opener)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if _total(error.headers.get("Content-Range")) == have:
            return
        # The remote file is shorter than our part, which must come from another file.
        part.unlink()
        have = 0
        response = _open(remote, part, have, opener)
    with response:
        resumed = response.status == 206 and _start(response.headers.get("Content-Range")) == have
        if response.status == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise _BrokenOffError("the server answered with another part of the file")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total is not None:
            _check_size(remote, part, total)
        write_validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        _validator(part).write_text(write_validator, encoding="utf-8")
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                have += len(chunk)
                _check_size(remote, part, have)
                file.write(chunk)
                progress(remote.name, have, total)
        if total is not None and have < total:
            raise _BrokenOffError(f"{have} of {total} bytes")


def _open(remote: Remote, part: Path, have: int, opener: urllib.request.OpenerDirector) -> HTTPResponse:
    """The response that carries the file, after any confirmation page of Google Drive's."""
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        validator = _validator(part).read_text(encoding="utf-8") if _validator(part).exists() else ""
        # Weak validators do not guarantee equal bytes.
        if validator and not validator.startswith("W/"):
            headers["If-Range"] = validator
    url = remote.url
    for _ in range(3):
        response: HTTPResponse = opener.open(_request(url, headers), timeout=_TIMEOUT)
        if response.headers.get_content_type() != "text/html":
            return response
        with response:
            page = response.read(_PAGE_LIMIT).decode("utf-8", "replace")
        following = _confirmation(page, response.url)
        if following is None:
            break
        url = following
    raise ModelError(f"{remote.url} answered with a web page, not with {remote.name}{_title(page)}.")


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ModelError(f"'{url}' is not a web address.")
    return urllib.request.Request(url, headers=headers)


class _FormParser(HTMLParser):
    """The first form's action and hidden inputs, and the page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.inputs: dict[str, str] = {}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "form" and self.action is None:
            self.action = values.get("action", "")
        elif tag == "input" and self.action is not None and values.get("type") == "hidden":
            self.inputs[values.get("name", "")] = values.get("value", "")
        elif tag == "a":
            self.links.append(values.get("href", ""))


def _confirmation(page: str, page_url: str) -> str | None:
    """The URL that Google Drive's "can't scan this file for viruses" page leads to, by a form, formerly by a link."""
    parser = _FormParser()
    parser.feed(page)
    following = None
    if parser.action is not None and "confirm" in parser.inputs:
        action = urllib.parse.urlsplit(urllib.parse.urljoin(page_url, parser.action))
        query = urllib.parse.parse_qsl(action.query) + list(parser.inputs.items())
        following = action._replace(query=urllib.parse.urlencode(query)).geturl()
    else:
        links = [link for link in parser.links if "confirm=" in link]
        following = urllib.parse.urljoin(page_url, links[0]) if links else None
    if following is None:
        return None
    host = urllib.parse.urlsplit(following).hostname
    trusted = host in _DRIVE_HOSTS or host == urllib.parse.urlsplit(page_url).hostname
    return following if trusted else None


def _title(page: str) -> str:
    match = re.search(r"<title>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    return f" (“{' '.join(match.group(1).split())[:80]}”)" if match else ""


def _start(content_range: str | None) -> int | None:
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match.group(1)) if match else None


def _total(content_range: str | None) -> int | None:
    match = re.search(r"/(\d+)$", content_range or "")
    return int(match.group(1)) if match else None


def _check_size(remote: Remote, part: Path, size: int) -> None:
    if size > remote.max_bytes:
        part.unlink(missing_ok=True)
        raise ModelError(f"{remote.name} is refused: it is larger than {remote.max_bytes // 10**6} MB.")


def _check(remote: Remote, target: Path) -> Fetched:
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    pins = _read_pins()
    known = pins.get(remote.name, {}).get("sha256")
    expected = remote.sha256_prefix or (known or "")[:12]
    if not digest.startswith(remote.sha256_prefix) or (known is not None and known != digest):
        target.unlink()
        raise ModelError(
            f"{remote.name} is not the expected file (SHA-256 {digest[:12]}…, expected {expected}…); it was deleted."
        )
    if known is None:
        pins[remote.name] = {"sha256": digest, "size": target.stat().st_size, "url": remote.url}
        _pins_file().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_pins_file(), json.dumps(pins, indent=2).encode() + b"\n")
    return Fetched(target, digest, pinned=known is None and not remote.sha256_prefix)


def _pins_file() -> Path:
    return data_dir() / "pins.json"


def _read_pins() -> dict[str, dict[str, Any]]:
    if not _pins_file().exists():
        return {}
    try:
        pins: dict[str, dict[str, Any]] = json.loads(_pins_file().read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"The recorded hashes in {_pins_file()} cannot be read ({error}).") from error
    return pins


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
