"""What is said of a run while it goes on."""

from __future__ import annotations

import time

import pytest

from colorcli.cli import progress


@pytest.mark.parametrize(("map_seconds", "left"), [(40.0, "00:45 left"), (None, "00:06 left")])
def test_the_time_left_is_that_of_the_work_left(
    map_seconds: float | None, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the postcards are done, and a map of a hundred megapixels is not: "6 s left", for minutes."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    cards = [f"/old/{number}.jpg" for number in range(10)]
    work = [] if map_seconds is None else [*((card, 1.0) for card in cards), ("/old/map.tif", map_seconds)]
    with progress.display(11, quiet=False, verbose=False, work=work) as shown:
        for card in cards:
            now[0] += 1
            shown.show({"event": "photo.done", "input": card, "source": card})
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("5/11, 1.00 photos/s, ") and left in said
