"""Fetching released files from a local server that misbehaves on request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from safetensors.torch import load_file
from torchvision import models

from colorcli.errors import ExitCode, ModelError, StoppedError
from colorcli.pipeline.opening import open_model
from colorcli.registry import backbones, importers
from colorcli.registry.card import WEIGHTS, ModelCard
from colorcli.registry.download import fetch
from colorcli.registry.releases import Release, Remote

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMIT = 10_000_000


class Server:
    """How the server behaves, and the requests that it got."""

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
    monkeypatch.setattr("time.sleep", lambda _: None)
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
    """No hash is published for some files: a different file under the same name must be noticed later."""
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
    """This is torchvision's convention, and it protects even the first fetch."""
    good, bad = f"net-{SHA256[:8]}.pth", "net-9b330a0b.pth"
    fetched = fetch(_remote(server, good), tmp_path)
    assert (fetched.path.name, fetched.pinned) == (good, False)
    with pytest.raises(ModelError, match="expected 9b330a0b"):
        fetch(_remote(server, bad), tmp_path)
    assert not (tmp_path / bad).exists()
    assert bad not in json.loads((user / "pins.json").read_text())


def test_a_broken_connection_is_resumed(server: Server, user: Path, tmp_path: Path) -> None:
    """Otherwise a gigabyte would never arrive over a poor line."""
    server.break_after = [1_500_000, 2_000_000]
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1500000-", "bytes=3500000-"]


def test_the_next_run_resumes_where_the_last_gave_up(server: Server, user: Path, tmp_path: Path) -> None:
    server.break_after = [1_000_000, 1, 1, 1]
    with pytest.raises(ModelError, match="run again to continue"):
        fetch(_remote(server), tmp_path)
    assert (tmp_path / "file.ckpt.part").stat().st_size == 1_000_003
    server.requests.clear()
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=1000003-"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file.ckpt"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, user: Path, tmp_path: Path) -> None:
    """Half of one file joined with half of another would have the right length."""
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
    """The program may be killed between the last byte and the renaming."""
    (tmp_path / "file.ckpt.part").write_bytes(CONTENT + extra)
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_too_large_is_refused(server: Server, user: Path, tmp_path: Path, declared: bool) -> None:
    """A wrong address must not fill the disk, whether or not the server states a length."""
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
def test_a_web_page_is_never_mistaken_for_weights(server: Server, user: Path, tmp_path: Path, page: str) -> None:
    """If Google Drive's quota is exceeded, the error says so; nothing is kept, and no other host is contacted."""
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
    """In an archive without a network, nothing may try to connect."""
    monkeypatch.setenv("COLORCLI_OFFLINE", "1")
    with pytest.raises(ModelError, match="COLORCLI_OFFLINE forbids the network") as caught:
        fetch(_remote(server), tmp_path)
    assert caught.value.exit_code == ExitCode.MODEL
    assert server.requests == []


def test_no_network_is_one_sentence(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 is not reachable"):
        # Connections to port 9 (discard) are refused at once if nothing listens.
        fetch(Remote("x.ckpt", "http://127.0.0.1:9/x.ckpt", LIMIT), tmp_path)


def test_only_web_addresses_are_fetched(user: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    with pytest.raises(ModelError, match="not a web address"):
        fetch(Remote("x", f"file://{tmp_path}/secret", LIMIT), tmp_path)


def _publish(monkeypatch: pytest.MonkeyPatch, entry: Release) -> None:
    monkeypatch.setattr(importers, "release", {entry.name: entry}.__getitem__)


def test_pulling_a_model_fetches_imports_and_cleans_up(
    server: Server, user: Path, bundle: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One command leads from nothing to an installed model."""
    torch.save({"conv.weight": torch.ones(2, 1, 1, 1), "conv.bias": torch.zeros(2)}, tmp_path / "net.pth")
    server.content = (tmp_path / "net.pth").read_bytes()
    _publish(monkeypatch, Release("tiny", "model", "Tiny", "CC0", (_remote(server, "net.pth"),), paper="Nobody 2001"))
    card, fetched = importers.pull("tiny")
    assert isinstance(card, ModelCard)
    assert card.folder == user / "models" / "tiny@official"
    assert (card.licence, card.preset, card.source["paper"]) == ("CC0", "paper", "Nobody 2001")
    assert card.source["files"] == {"net.pth": fetched[0].sha256}
    assert open_model("tiny@official", device="cpu").info.weights_sha256 == card.weights_sha256
    assert [one.pinned for one in fetched] == [True]
    assert not (user / "downloads" / "tiny").exists()

    server.requests.clear()
    assert importers.pull("tiny") == (card, [])
    assert server.requests == []


def test_pulling_a_backbone_leaves_safetensors_and_a_record(
    server: Server, user: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Afterwards there is no pickle on the disk, and the recorded hash can be checked."""
    network = models.shufflenet_v2_x0_5(weights=None)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "net.pth")
    server.content = (tmp_path / "net.pth").read_bytes()
    name = f"net-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    library: dict[str, Any] = {"network": "torchvision:shufflenet_v2_x0_5", "unused": ("fc.",)}
    _publish(monkeypatch, Release("resnet50", "backbone", "Toy", "CC0", (_remote(server, name),), **library))
    card, fetched = importers.pull("resnet50")
    assert isinstance(card, backbones.Backbone)
    weights = user / "backbones" / "resnet50" / WEIGHTS
    assert backbones.locate("resnet50") == weights
    assert sorted(path.name for path in weights.parent.iterdir()) == [backbones.CARD, WEIGHTS]
    assert not (user / "downloads" / "resnet50").exists()
    assert (card.licence, card.files, fetched[0].pinned) == ("CC0", {name: fetched[0].sha256}, False)
    backbones.verify("resnet50")

    stored = load_file(weights)
    assert set(stored) == {name for name in network.state_dict() if not name.startswith("fc.")}
    assert all(torch.equal(stored[name], state[name]) for name in stored if name in state)
    assert stored["conv1.1.num_batches_tracked"].dtype == torch.int64

    server.requests.clear()
    assert importers.pull("resnet50") == (card, [])
    assert server.requests == []


def test_a_pull_that_brings_another_network_installs_nothing(
    server: Server, user: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "net.pth")
    server.content = (tmp_path / "net.pth").read_bytes()
    remote = _remote(server, "net.pth")
    _publish(monkeypatch, Release("vgg16", "backbone", "Toy", "CC0", (remote,), network="torchvision:squeezenet1_0"))
    with pytest.raises(ModelError, match="not the released checkpoint") as caught:
        importers.pull("vgg16")
    assert caught.value.exit_code == ExitCode.MODEL
    assert not (user / "backbones").exists()


def test_files_without_an_address_are_imported_not_pulled(user: Path) -> None:
    with pytest.raises(ModelError, match="no published address; import it from a file: colorcli models import pix2pix"):
        importers.pull("pix2pix")


def test_a_stop_keeps_what_was_fetched(server: Server, user: Path, tmp_path: Path) -> None:
    """Otherwise Ctrl-C in the second gigabyte would mean fetching the first again."""
    heard: list[int] = []
    with pytest.raises(StoppedError, match="run again to continue"):
        fetch(_remote(server), tmp_path, lambda _name, done, _total: heard.append(done), lambda: len(heard) > 1)
    kept = (tmp_path / "file.ckpt.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert fetch(_remote(server), tmp_path).path.read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={kept}-"
