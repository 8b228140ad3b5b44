"""Pages of text are not tinted, and photographs are never mistaken for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from colorcli.images.content import content_of

LINE = "the quick brown fox jumps over the lazy dog and the register of births"


def typed(paper: int = 255, ink: int = 20, angle: float = 0, size: tuple[int, int] = (850, 1100)) -> np.ndarray:
    page = Image.new("L", size, paper)
    draw = ImageDraw.Draw(page)
    for y in range(60, size[1] - 60, 17):
        draw.text((70, y), LINE, fill=ink)
    return np.asarray(page.rotate(angle, Image.Resampling.BICUBIC, fillcolor=paper))


@pytest.mark.parametrize("options", [{}, {"paper": 236, "ink": 60}, {"angle": 1.0}, {"angle": 90}], ids=str)
@pytest.mark.parametrize("deep", [False, True])
def test_a_page_of_text_stays_neutral(options: dict[str, Any], deep: bool) -> None:
    """Without this, an archive's registers come out tinted as if their paper had been."""
    page = typed(**options)
    found = content_of(page.astype(np.uint16) * 257 if deep else np.repeat(page[..., None], 3, 2))
    assert found.neutral.startswith("neutral: a page of text")


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee", "coins", "brick", "grass", "moon", "rocket"])
def test_photographs_are_not_taken_for_pages(name: str) -> None:
    """Without this, somebody's photograph stays gray or gets a wrong note."""
    found = content_of(getattr(data, name)())
    assert (found.neutral, found.note, found.dark) == ("", "", False)


def test_birds_before_a_bright_sky_are_not_lines() -> None:
    """Thin dark shapes on an even background are text only if they form evenly spaced lines."""
    sky = Image.new("L", (600, 400), 215)
    draw = ImageDraw.Draw(sky)
    for x, y in np.random.default_rng(3).integers(20, 380, (40, 2)):
        draw.line([(x, y), (x + 9, y + 4), (x + 18, y)], fill=40, width=3)
    found = content_of(np.asarray(sky))
    assert found.neutral == "" and "drawing" in found.note


def test_blank_and_near_black() -> None:
    noise = np.random.default_rng(0).normal(0, 1.5, (400, 400))
    assert content_of(np.full((40, 40), 255, np.uint8)).neutral
    dark = content_of(np.clip(16 + noise, 0, 255).astype(np.uint8))
    assert dark.dark and not dark.neutral
    assert not content_of(np.clip(60 + noise, 0, 255).astype(np.uint8)).dark


def test_a_halftone_is_noted_and_a_photograph_is_not() -> None:
    """A halftone's dots take most of the colour away, and nobody would know why."""
    scene = np.asarray(Image.fromarray(data.camera()).resize((1024, 1024), Image.Resampling.BICUBIC)) / 255
    y, x = np.mgrid[0:1024, 0:1024]
    screen = (np.cos((x + y) * np.pi / 8) * np.cos((x - y) * np.pi / 8) + 1) / 2
    assert "halftone" in content_of(((scene > screen) * 200 + 25).astype(np.uint8)).note
    assert content_of((scene * 255).astype(np.uint8)).note == ""
