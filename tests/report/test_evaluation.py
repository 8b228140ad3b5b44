"""The page of an evaluation, as bytes and as a browser shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colorcli.errors import OutputError, PhotoError
from colorcli.report import evaluation as module
from colorcli.report.evaluation import write_evaluation

from .conftest import HOSTILE, Open, evaluation, picture, pictures


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    write_evaluation(path, evaluation(), pictures)
    return path


def first_card(page: Any) -> str:
    return str(page.locator(".photo h3").first.inner_text())


def rows(page: Any) -> list[str]:
    return list(page.locator("table[data-sortable] >> nth=0").locator("tbody th").all_inner_texts())


def test_the_table_works_without_scripts(report: Path) -> None:
    """In a mail program or a build server that runs no scripts, the numbers and the gray row must be readable."""
    text = report.read_text("utf-8").split("<script")[0]
    assert "20.00" in text, "gray's mean"
    assert "24.00" in text and "23.50 … 24.50" in text, "a mean and its interval"
    assert 'aria-label="better than gray"' in text and 'aria-label="worse than gray"' in text
    assert "stretch256@1" in text
    assert "is cut off" in text


def test_notes_are_beside_the_numbers_they_qualify(tmp_path: Path) -> None:
    """An FID of seven photographs must not be quoted without its note; infinite is not the same as unknown."""
    noted = evaluation()
    noted["notes"] = ["FID is of 7 photographs & biased."]
    noted["summary"]["original"]["psnr"]["infinite"] = 7
    write_evaluation(tmp_path / "report.html", noted, pictures)
    text = (tmp_path / "report.html").read_text("utf-8").split("Plots")[0]
    assert "FID is of 7 photographs &amp; biased." in text
    assert ">∞</td>" in text


def test_nothing_from_outside_becomes_markup(report: Path) -> None:
    """A photograph's name must not be run as code in a reader's browser."""
    text = report.read_text("utf-8")
    assert "<script>window" not in text
    assert "<b>two" not in text and "<i>broken" not in text
    assert "&lt;i&gt;broken" in text


def test_opens_quietly_and_fits_a_phone(report: Path, look: Open) -> None:
    """There are no errors, no requests, and no sideways scrolling on a small phone."""
    for width, scheme in ((375, "dark"), (1280, "light")):
        page = look(report, width=width, scheme=scheme)
        page.wait_for_selector(".plot svg")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.hacked") is None
        assert page.get_by_role("heading", name=HOSTILE).is_visible()
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground))) < 60) == (scheme == "dark")


def test_photographs_are_sorted_by_any_metric(report: Path, look: Open) -> None:
    """The worst photographs say the most about a model, and nobody finds them by scrolling."""
    page = look(report)
    page.get_by_label("Sort by", exact=True).select_option("psnr")
    assert first_card(page) == "box 6/photo 6.jpg", "best first, of the first model"
    page.get_by_label("Order").select_option("last")
    assert first_card(page) == HOSTILE
    page.get_by_label("Sort by", exact=True).select_option("delta-e")
    page.get_by_label("Order").select_option("first")
    assert first_card(page) == "box 6/photo 6.jpg", "best is lowest where lower is better"
    page.get_by_label("Sort by the values of").select_option("beta@lite")
    assert first_card(page) == HOSTILE
    page.get_by_label("Less the values of").select_option("gray")
    assert "ΔE2000 +9.00" in page.locator(".photo header").first.inner_text()
    page.get_by_label("Filter").fill("photo 3")
    assert page.locator(".photo").count() == 1


def test_the_table_is_sorted_by_its_heads(report: Path, look: Open) -> None:
    """Ten models are compared by one number at a time."""
    page = look(report)
    page.get_by_role("button", name="PSNR").click()
    assert rows(page) == ["alpha@lite", "gray", "beta@lite", "original"], "highest first, what has none last"
    page.get_by_role("button", name="PSNR").click()
    assert rows(page) == ["beta@lite", "gray", "alpha@lite", "original"]
    assert page.locator("th[aria-sort=ascending]").count() == 1


def test_two_images_are_compared_by_keyboard(report: Path, look: Open) -> None:
    """Users without a mouse can compare too: Enter opens, arrows move the divider or go on, digits choose the model."""
    page = look(report)
    page.locator(".photo").first.focus()
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider")
    assert slider.evaluate("element => element === document.activeElement")
    assert "gray on the left and alpha@lite on the right" in slider.get_attribute("aria-label")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "52"
    assert page.evaluate("document.querySelector('.frame').style.getPropertyValue('--split')") == "52%"
    page.keyboard.press("2")
    assert "beta@lite on the right" in slider.get_attribute("aria-label")
    page.keyboard.press("ArrowDown")
    assert page.locator("dialog h2").inner_text() == "box 1/photo 1.jpg"
    page.keyboard.press("Escape")
    # The browser sends the close event only after closing.
    page.wait_for_selector(".photo.current h3:text-is('box 1/photo 1.jpg')")


def test_the_slider_follows_the_pointer(report: Path, look: Open) -> None:
    """A finger or a mouse drags the divider."""
    page = look(report, width=375)
    page.locator(".picture").nth(1).click()
    # The frame gets the image's shape once it has been decoded.
    page.wait_for_function("document.querySelector('.frame').style.getPropertyValue('--ratio')")
    box = page.locator(".frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    assert page.get_by_role("slider").input_value() == "25"


def test_plots_say_what_they_show(report: Path, look: Open) -> None:
    """A plot without text is lost on users of screen readers."""
    page = look(report)
    page.wait_for_selector(".plot svg")
    labels = page.eval_on_selector_all(".plot svg[role=img]", "all => all.map(one => one.getAttribute('aria-label'))")
    assert len(labels) == 3
    assert "gray median 20.00" in labels[0].replace("\u00a0", " ")
    assert "original: Colourfulness 43.0" in labels[1], "whose PSNR is infinite, and which has a place all the same"
    assert "alpha@lite is better on 7, worse on 0 of 7 photographs" in labels[2]
    page.locator(".plot").nth(2).get_by_label("To", exact=True).select_option("beta@lite")
    assert "beta@lite is better on 0, worse on 7" in page.locator(".plot").nth(2).inner_text()


def test_many_photographs_stay_usable(tmp_path: Path, look: Open) -> None:
    """A page that draws three thousand images at once would not open."""
    path = tmp_path / "report.html"
    write_evaluation(path, evaluation(600), lambda name, model: picture(3))
    page = look(path, width=375)
    assert page.locator(".photo").count() <= 24
    page.get_by_role("button", name="Next").first.click()
    assert "of 600" in page.locator(".pager").first.inner_text()
    assert first_card(page) != HOSTILE
    page.get_by_label("Sort by", exact=True).select_option("psnr")
    assert first_card(page) == "box 599/photo 599.jpg", "sorted over all pages, and back on the first"


def test_images_of_the_extremes_when_not_all_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """People look at the best and worst of five thousand photographs first; the file must stay small enough to send."""
    monkeypatch.setattr(module, "MAX_PICTURES", 40)
    asked: set[str] = set()

    def noted(name: str, model: str) -> Any:
        asked.add(name)
        return pictures(name, model)

    write_evaluation(tmp_path / "report.html", evaluation(100), noted)
    assert len(asked) == 10
    assert {HOSTILE, "box 99/photo 99.jpg"} <= asked
    assert "10 of the 100 photographs" in (tmp_path / "report.html").read_text("utf-8")


def test_an_image_that_cannot_be_made_is_left_out(tmp_path: Path, look: Open) -> None:
    """One file that vanished during a long evaluation must not cost the report."""

    def some(name: str, model: str) -> Any:
        if model == "beta@lite" and name == HOSTILE:
            raise PhotoError("is gone")
        return pictures(name, model)

    write_evaluation(tmp_path / "report.html", evaluation(1), some)
    page = look(tmp_path / "report.html")
    assert page.locator(".picture.none").count() == 1
    assert page.locator(".picture img").count() == 3


def test_one_model_alone_and_no_values(tmp_path: Path, look: Open) -> None:
    """The smallest possible evaluation is shown without errors."""
    alone = evaluation(1, ("alpha@lite",))
    alone["images"][0]["values"] = {}
    alone["paired"] = []
    write_evaluation(tmp_path / "report.html", alone, pictures)
    page = look(tmp_path / "report.html")
    assert page.locator(".photo").count() == 1


def test_numbers_that_are_not_finite_do_not_break_the_page(tmp_path: Path) -> None:
    """NaN and infinity are not JSON: a page with them would not open at all."""
    odd = evaluation(2)
    odd["images"][1]["values"]["alpha@lite"] = {"psnr": float("inf"), "delta-e": float("nan"), "colorfulness": 1 / 3}
    write_evaluation(tmp_path / "report.html", odd, pictures)
    text = (tmp_path / "report.html").read_text("utf-8")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    values = data["photos"][1]["values"]["alpha@lite"]
    assert values == {"psnr": None, "delta-e": None, "colorfulness": 0.333333}


def test_a_foreign_file_is_never_replaced(tmp_path: Path) -> None:
    """A user's own report.html must not be overwritten; an earlier report may be."""
    path = tmp_path / "report.html"
    path.write_text("<p>mine</p>")
    with pytest.raises(OutputError, match="not a colorcli report; move it"):
        write_evaluation(path, evaluation(1), pictures)
    assert path.read_text() == "<p>mine</p>"
    path.unlink()
    write_evaluation(path, evaluation(1), pictures)
    write_evaluation(path, evaluation(2), pictures)
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    """A crash halfway must not destroy yesterday's report."""
    path = tmp_path / "report.html"
    write_evaluation(path, evaluation(1), pictures)
    before = path.read_bytes()

    def broken(name: str, model: str) -> Any:
        if model == "original":
            raise MemoryError
        return np.zeros((2, 2, 3), np.uint8)

    with pytest.raises(MemoryError):
        write_evaluation(path, evaluation(3), broken)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]
