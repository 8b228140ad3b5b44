"""A self-contained HTML file with style, scripts, data and images. It is streamed, so memory use is constant.

The Content-Security-Policy allows only the page's own style and scripts, by hash, and ``data:`` images, so that
injected markup could neither run nor send anything. Data is JSON in elements that browsers do not execute, with one
such element for the images of each photograph, decoded when that photograph is shown.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TextIO

import colorcli
from colorcli.errors import OutputError
from colorcli.files import replacing
from colorcli.text import printable

_GENERATOR = '<meta name="generator" content="colorcli '
_HEAD_BYTES = 4096
_ASSETS = "colorcli.report"


def escaped(text: object) -> str:
    """Escape text for HTML elements and attributes; unprintable characters become backslash escapes."""
    return html.escape(printable(str(text)))


def is_page(path: Path) -> bool:
    """Whether a file is a colorcli page; False if it does not exist. Raises ``OSError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return _GENERATOR.encode() in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return False


def check_place(path: Path) -> None:
    """Check that a page may be written to ``path``.

    Raises:
        OutputError: a file that is not a colorcli page exists there, or cannot be read.
    """
    try:
        free = is_page(path) or not os.path.lexists(path)
    except OSError as error:
        raise OutputError(f"The report {path} cannot be written: {error.strerror or error}.") from error
    if not free:
        raise OutputError(f"{path} exists and is not a colorcli report; move it, then run again.")


def write_page(
    path: Path,
    *,
    title: str,
    body: str,
    data: Mapping[str, object],
    pictures: Iterable[Mapping[str, bytes]],
    scripts: Sequence[str],
) -> None:
    """Write a page atomically, replacing an earlier colorcli page.

    Args:
        path: the file.
        title: plain text.
        body: escaped HTML.
        data: JSON for the scripts, without NaN and infinity.
        pictures: WebP files of each photograph by column, in the order of ``data["photos"]``.
        scripts: names of files in ``assets``, in the order in which they run.

    Raises:
        OutputError: the file cannot be written, or a file that is not a colorcli page exists there.
    """
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            _write(file, title, body, data, pictures, [_asset(name) for name in scripts])
    except OSError as error:
        raise OutputError(f"The report {path} cannot be written: {error.strerror or error}.") from error


def _write(
    file: TextIO,
    title: str,
    body: str,
    data: Mapping[str, object],
    pictures: Iterable[Mapping[str, bytes]],
    scripts: Sequence[str],
) -> None:
    style = _asset("report.css")
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_source(style)}",
            f"script-src {' '.join(_source(script) for script in scripts)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    file.write(
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'{_GENERATOR}{colorcli.__version__}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
    )
    file.write(f'<script type="application/json" id="data">{_json(data)}</script>\n')
    for index, columns in enumerate(pictures):
        urls = {column: f"data:image/webp;base64,{base64.b64encode(c).decode()}" for column, c in columns.items()}
        file.write(f'<script type="application/json" id="pictures-{index}">{_json(urls)}</script>\n')
    for script in scripts:
        file.write(f"<script>{script}</script>\n")
    file.write("</body>\n</html>\n")


def _asset(name: str) -> str:
    return files(_ASSETS).joinpath("assets", name).read_text("utf-8")


def _source(text: str) -> str:
    """Content-Security-Policy source of an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """ASCII JSON that cannot close its HTML element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
