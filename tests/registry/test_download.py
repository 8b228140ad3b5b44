"""Fetching released files, from a server on this machine that misbehaves on request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from colorcli.errors import ExitCode, ModelError
from colorcli.registry import download
from colorcli.registry.download import fetch
from colorcli.registry.releases import Remote

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMIT = 10_000_000


class Server:
    """What the server does, and what it was asked for."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"one"'
        self.break_after: list[int] = []
        self.ranges = True
        self.declare_length = True
        self.drive_page = ""
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("COLORCLI_OFFLINE", raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requests.append((self.path, asked))
            if self.path.startswith("/missing"):
                self.send_error(404)
                return
            if state.drive_page and "confirm" not in parse_qs(urlsplit(self.path).query):
                self.reply(200, state.drive_page.encode(), {"Content-Type": "text/html; charset=utf-8"})
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.ranges else 0
            if self.headers.get("If-Range") not in (None, state.etag):
                start = 0
            if start >= len(state.content):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(state.content)}"})
                return
            headers = {"ETag": state.etag, "Content-Type": "application/octet-stream"}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(state.content) - 1}/{len(state.content)}"
            self.reply(206 if start else 200, state.content[start:], headers)

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if state.declare_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            breaks = state.break_after and headers.get("Content-Type") == "application/octet-stream"
            stop = state.break_after.pop(0) if breaks else len(body)
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body[:stop])

        def log_message(self, *_: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def _remote(server: Server, name: str = "file.ckpt", max_bytes: int = LIMIT) -> Remote:
    return Remote(name, f"{server.url}/{name}", max_bytes)


def test_a_first_fetch_is_recorded_and_a_second_is_checked(server: Server, user: Path, tmp_path: Path) -> None:
    """No hash is published for some files: a later, other file under the same name must not pass unseen."""
    seen: list[tuple[str, int, int | None]] = []
    first = fetch(_remote(server), tmp_path / "a", lambda *state: seen.append(state))
    assert (first.sha256, first.pinned) == (SHA256, True)
    assert first.path.read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file.ckpt"]
    assert seen[-1] == ("file.ckpt", len(CONTENT), len(CONTENT))
    assert json.loads((user / "pins.json").read_text())["file.ckpt"]["sha256"] == SHA256

    again = fetch(_remote(server), tmp_path / "b")
    assert (again.sha256, again.pinned) == (SHA256, False)
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(ModelError, match="not the expected file") as caught:
        fetch(_remote(server), tmp_path / "c")
    assert caught.value.exit_code == ExitCode.MODEL
    assert list((tmp_path / "c").iterdir()) == []


def test_hash_digits_in_the_name_are_checked(server: Server, user: Path, tmp_path: Path) -> None:
    """torchvision's habit; it also protects the very first fetch."""
    good, bad = f"net-{SHA256[:8]}.pth", "net-9b330a0b.pth"
    fetched = fetch(_remote(server, good), tmp_path)
    assert (fetched.path.name, fetched.pinned) == (good, False)
    with pytest.raises(ModelError, match="expected 9b330a0b"):
        fetch(_remote(server, bad), tmp_path)
    assert not (tmp_path / bad).exists()
    assert bad not in json.loads((user / "pins.json").read_text())


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, user: Path, tmp_path: Path) -> None:
    """A gigabyte over a poor line would otherwise never arrive."""
    server.break_after = [1_500_000, 2_000_000]
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1500000-", "bytes=3500000-"]


def test_the_next_run_goes_on_where_the_last_gave_up(server: Server, user: Path, tmp_path: Path) -> None:
    server.break_after = [1_000_000, 1, 1, 1]
    with pytest.raises(ModelError, match="run again to go on"):
        fetch(_remote(server), tmp_path)
    assert (tmp_path / "file.ckpt.part").stat().st_size == 1_000_003
    server.requests.clear()
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=1000003-"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file.ckpt"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, user: Path, tmp_path: Path) -> None:
    """Half of one file and half of another have the right length."""
    server.break_after = [1_000_000, 1, 1, 1]
    with pytest.raises(ModelError):
        fetch(_remote(server), tmp_path)
    server.etag, server.content = '"two"', CONTENT[::-1]
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT[::-1]


def test_a_server_that_cannot_resume_sends_everything_again(server: Server, user: Path, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [1_000_000]
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_that_is_already_whole_or_too_long_is_settled(
    server: Server, user: Path, tmp_path: Path, extra: bytes
) -> None:
    """Killed between the last byte and the renaming."""
    (tmp_path / "file.ckpt.part").write_bytes(CONTENT + extra)
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_too_large_is_refused(server: Server, user: Path, tmp_path: Path, declared: bool) -> None:
    """A wrong address must not fill the disk, whether or not it says how much is coming."""
    server.declare_length = declared
    with pytest.raises(ModelError, match="larger than 1 MB"):
        fetch(_remote(server, max_bytes=1_000_000), tmp_path)
    assert not list(tmp_path.glob("*.ckpt*.part"))


def test_drives_confirmation_form_is_answered(server: Server, user: Path, tmp_path: Path) -> None:
    """Google Drive asks before it sends what it cannot scan for viruses."""
    server.drive_page = (
        '<html><title>Google Drive - Virus scan warning</title><form id="download-form" action="/download?x=1">'
        '<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">'
        '<input type="hidden" name="uuid" value="u-1"><input type="submit" value="Download"></form></html>'
    )
    server.break_after = [1_000_000]
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert (("/download?x=1&id=abc&confirm=t&uuid=u-1"), "bytes=1000000-") in server.requests


def test_drives_older_confirmation_link_is_followed(server: Server, user: Path, tmp_path: Path) -> None:
    server.drive_page = '<a href="/uc?export=download&amp;confirm=Xy1&amp;id=abc">Download anyway</a>'
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert server.requests[-1][0] == "/uc?export=download&confirm=Xy1&id=abc"


@pytest.mark.parametrize(
    "page",
    [
        "<title>Google Drive - Quota\n exceeded</title>",
        '<title>Google Drive - Quota exceeded</title><form action="https://evil.example/"><input type="hidden" '
        'name="confirm" value="t"></form>',
    ],
)
def test_a_web_page_is_never_taken_for_weights(server: Server, user: Path, tmp_path: Path, page: str) -> None:
    """Too many people fetched the file today: say that, and keep nothing; go to no other host."""
    server.drive_page = page
    with pytest.raises(ModelError, match=r"web page, not with file.ckpt .“Google Drive - Quota exceeded”"):
        fetch(_remote(server), tmp_path)
    assert not (tmp_path / "file.ckpt").exists()


def test_an_error_of_the_server_is_a_sentence(server: Server, user: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="answered 404"):
        fetch(_remote(server, "missing.ckpt"), tmp_path)


def test_offline_is_one_sentence_and_no_connection(
    server: Server, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an archive without a network, nothing may try to leave it."""
    monkeypatch.setenv("COLORCLI_OFFLINE", "1")
    with pytest.raises(ModelError, match="COLORCLI_OFFLINE forbids the network") as caught:
        fetch(_remote(server), tmp_path)
    assert caught.value.exit_code == ExitCode.MODEL
    assert server.requests == []


def test_no_network_is_one_sentence(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 is not reachable"):
        # Port 9 (discard) is refused at once where nothing listens.
        fetch(Remote("x.ckpt", "http://127.0.0.1:9/x.ckpt", LIMIT), tmp_path)


def test_only_web_addresses_are_fetched(user: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    with pytest.raises(ModelError, match="not a web address"):
        fetch(Remote("x", f"file://{tmp_path}/secret", LIMIT), tmp_path)


