"""The folder of a report: ``report.json``, ``report.html``, ``images.csv``, ``table.{csv,md,tex}``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from colorcli.errors import OutputError, PhotoError
from colorcli.evaluate import tables
from colorcli.evaluate.prepare import Rgb8
from colorcli.evaluate.report import to_json
from colorcli.files import write_atomically
from colorcli.report.records import Report

_LARGEST = 1024
_QUALITY = 92


class Pictures:
    """The scored images, kept on disk for the gallery, at most 1024 pixels a side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, model: str, rgb: Rgb8) -> None:
        """Keep an image ``(H, W, 3)``."""
        image = Image.fromarray(rgb)
        image.thumbnail((_LARGEST, _LARGEST))
        image.save(self._path(name, model), "JPEG", quality=_QUALITY, subsampling=0)

    def __call__(self, name: str, model: str) -> Rgb8:
        """The kept image of a photograph and model.

        Raises:
            PhotoError: it was not kept.
        """
        try:
            with Image.open(self._path(name, model)) as image:
                return np.asarray(image)
        except OSError as error:
            raise PhotoError(f"{name} by {model} was not kept: {error}") from error

    def _path(self, name: str, model: str) -> Path:
        digest = hashlib.sha256(f"{name}\0{model}".encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{digest[:32]}.jpg"


def prepare_folder(folder: Path) -> None:
    """Create the report's folder, before hours of work go into it.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error


def write_report(folder: Path, report: Report, pictures: Pictures) -> None:
    """Write all files of a report, replacing those of an earlier one.

    Raises:
        OutputError: the folder cannot be written.
    """
    from colorcli.report.evaluation import write_evaluation

    files = {
        "report.json": to_json(report),
        "images.csv": tables.images_csv(report).encode("utf-8", "backslashreplace"),
        "table.csv": tables.to_csv(report).encode("utf-8", "backslashreplace"),
        "table.md": tables.to_markdown(report).encode("utf-8", "backslashreplace"),
        "table.tex": tables.to_latex(report).encode("utf-8", "backslashreplace"),
    }
    for name, content in files.items():
        try:
            write_atomically(folder / name, content)
        except OSError as error:
            raise OutputError(f"{folder / name} cannot be written: {error.strerror or error}.") from error
    write_evaluation(folder / "report.html", report, pictures)
