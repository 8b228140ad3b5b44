"""A headless Chromium that notices forbidden actions of a page, and reports to show in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from colorcli.report.records import ImageRecord, MetricRecord, PairedRecord, Report, Score

HOSTILE = "<script>window.hacked = 1</script>.png"
METRICS: list[MetricRecord] = [
    {"id": "psnr", "label": "PSNR", "unit": "dB", "better": "higher", "decimals": 2, "per_image": True, "text": ""},
    {"id": "delta-e", "label": "ΔE2000", "unit": "", "better": "lower", "decimals": 2, "per_image": True, "text": ""},
    {
        "id": "colorfulness",
        "label": "Colourfulness",
        "unit": "",
        "better": "none",
        "decimals": 1,
        "per_image": True,
        "text": "",
    },
    {"id": "fid", "label": "FID", "unit": "", "better": "lower", "decimals": 1, "per_image": False, "text": ""},
]

Open = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="part of the extra 'test'")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = os.environ.get("COLORCLI_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium here: install it (apt-get install chromium), or name one in COLORCLI_TEST_CHROMIUM")
    with api.sync_playwright() as playwright:
        # root may not use the sandbox, and containers have a small /dev/shm
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Open]:
    """Opens pages; in the end, none may have logged a fault or requested anything from outside."""
    faults: list[str] = []
    contexts = []

    def opened(path: Path, *, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if _leaves(request.url, path) else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def _leaves(url: str, path: Path) -> bool:
    return not url.startswith(("data:", "blob:", path.parent.as_uri()))


def picture(value: int, *, gray: bool = False) -> NDArray[np.uint8]:
    """A small image that looks different for each value."""
    column = np.linspace(0, 255, 48).astype(np.uint8)
    plane = np.broadcast_to(column, (32, 48))
    return np.stack([plane, plane if gray else np.full_like(plane, value % 256), plane], axis=-1)


def evaluation(count: int = 7, models: tuple[str, ...] = ("alpha@lite", "beta@lite")) -> Report:
    """``report.json``: by PSNR, alpha is best on the last photographs, and beta is always worse than gray."""
    names = ["gray", *models, "original"]
    images: list[ImageRecord] = []
    for index in range(count):
        values: dict[str, dict[str, float | None]] = {"gray": {"psnr": 20.0, "delta-e": 12.0, "colorfulness": 0.0}}
        for place, model in enumerate(models):
            psnr = 21.0 + index if place == 0 else 19.0 - index
            values[model] = {"psnr": psnr, "delta-e": 40 - psnr, "colorfulness": 30.0 + place}
        values["original"] = {"psnr": None, "delta-e": 0.0, "colorfulness": 43.0}
        images.append(
            {"name": f"box {index}/photo {index}.jpg", "sha256": "0" * 64, "width": 48, "height": 32, "values": values}
        )
    images[0]["name"] = HOSTILE
    summary: dict[str, dict[str, Score]] = {}
    for name in names:
        summary[name] = {"fid": {"mean": 31.5, "median": None, "low": None, "high": None}}
        for metric in ("psnr", "delta-e", "colorfulness"):
            found = [value for image in images if (value := image["values"][name][metric]) is not None]
            mean = float(np.mean(found)) if found else None
            edges = (None, None) if mean is None else (mean - 0.5, mean + 0.5)
            summary[name][metric] = {"mean": mean, "median": mean, "low": edges[0], "high": edges[1]}
    verdicts = ("better", "worse")
    paired: list[PairedRecord] = [
        {"metric": "psnr", "a": model, "b": "gray", "difference": 1.0, "low": 0.5, "high": 1.5, "verdict": verdict}
        for model, verdict in zip(models, verdicts, strict=False)
    ]
    return {
        "version": 1,
        "title": "Evaluation of <b>two</b>",
        "created": "2026-01-02T03:04:05+00:00",
        "protocol": {"id": "stretch256@1", "text": "Stretched to 256 × 256."},
        "options": {"seed": 0},
        "intervals": {"confidence": 0.95},
        "software": {"numpy": "2"},
        "command": ["colorcli", "evaluate"],
        "machine": {"cpu": "one"},
        "data": {"roots": ["photos"], "images": count, "failed": 1, "left": 0},
        "models": [{"name": name, "weights_sha256": "ab" * 32, "parameters": 4_000_000} for name in names],
        "metrics": METRICS,
        "metric_networks": {},
        "summary": summary,
        "paired": paired,
        "extremes": {},
        "notes": [],
        "images": images,
        "failures": [{"name": "<i>broken</i>.jpg", "reason": "is cut off"}],
    }


def pictures(name: str, model: str) -> NDArray[np.uint8]:
    """The images that ``write_evaluation`` asks for."""
    return picture(len(name) * 7 + len(model), gray=model == "gray")


def page_data(path: Path) -> Any:
    return json.loads(path.read_text("utf-8").split('id="data">')[1].split("</script>")[0])


def picks_of(path: Path, wanted: dict[str, int]) -> dict[str, Any]:
    """What a report's page saves when these samples are chosen in it."""
    data = page_data(path)
    chosen = [
        {**photo["identity"], **photo["made_by"][photo["samples"].index(sample)], "sample": sample}
        for photo in data["photos"]
        if (sample := wanted.get(photo["name"])) is not None
    ]
    return {**json.loads(data["choice"]["header"]), "picks": chosen}
