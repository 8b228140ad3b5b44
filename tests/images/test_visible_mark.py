"""The sign in the corner can be read, and changes no pixel outside itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from colorcli.errors import PhotoError
from colorcli.images.visible_mark import Sign


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(9, 14), (32, 48), (600, 400), (1999, 3001)])
def test_the_sign_changes_its_rectangle_alone(height: int, width: int, dtype: type) -> None:
    picture: Any = np.full((height, width, 3), 100, dtype)
    sign = Sign.of(height, width)
    strips = [picture[y : y + 7].copy() for y in range(0, height, 7)]
    marked = np.concatenate(list(sign.drawn(iter(strips))))
    changed = (marked != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == (sign.y, sign.x)
    assert (rows.max() + 1, columns.max() + 1) == (sign.y + sign.height, sign.x + sign.width)
    assert changed[sign.y : sign.y + sign.height, sign.x : sign.x + sign.width].all()
    top = int(np.iinfo(dtype).max)
    inside = marked[sign.y : sign.y + sign.height, sign.x : sign.x + sign.width]
    assert inside.min() < 0.1 * top < 0.9 * top < inside.max(), "readable on any background"
    assert np.array_equal(marked, np.concatenate(list(sign.drawn(iter([picture.copy()]))))), "the same for any strips"


def test_the_sign_is_small() -> None:
    sign = Sign.of(3000, 4000)
    assert 0.03 < sign.height / 3000 < 0.06


@pytest.mark.parametrize(("height", "width"), [(8, 100), (100, 13)])
def test_an_image_without_room_for_the_sign_is_refused(height: int, width: int) -> None:
    with pytest.raises(PhotoError, match="too small"):
        Sign.of(height, width)
