"""The page of an evaluation: the table with its intervals, plots, and the photographs beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import PhotoError
from colorcli.report.page import escaped, write_page
from colorcli.report.thumbnails import bounds_for, thumbnail

Pictures = Callable[[str, str], NDArray[np.uint8]]


def write_evaluation(path: Path, report: Mapping[str, Any], pictures: Pictures) -> None:
    """Write an evaluation as one HTML file that works offline; an earlier report there is replaced.

    Args:
        path: the file, such as ``report.html``.
        report: what ``report.json`` holds, version 1.
        pictures: gives one picture by the image's name and the model's (``gray`` and ``original`` too): uint8
            ``(H, W, 3)`` or ``(H, W)``, sRGB-encoded. Called once for each pair that is shown, image by image in the
            report's order; one for which it raises PhotoError is left out.

    Raises:
        OutputError: the file cannot be written, or something stands there that is no report.
    """
    models = [str(model["name"]) for model in report["models"]]
    images = report["images"]
    bounds = bounds_for(len(images) * len(models))

    def packed() -> Iterator[dict[str, bytes]]:
        for image in images:
            found = {}
            for model in models:
                try:
                    found[model] = thumbnail(pictures(str(image["name"]), model), bounds)
                except PhotoError:
                    continue
            yield found

    write_page(
        path,
        title=str(report["title"]),
        body=f"<h1>{escaped(report['title'])}</h1>",
        data=report,
        pictures=packed(),
        scripts=[],
    )
