"""Reports of colouring runs, and picks: the program with a fake network, and what a browser shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from colorcli.cli import main
from colorcli.colorize import report as module
from colorcli.colorize.audit import read_status
from colorcli.pipeline import opening
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.report import colouring
from tests.colorize.conftest import contents, write_gray

from ..fakes import CARD, INFO, FakeSession
from .conftest import Open, page_data, picks_of

SEED = 2**60 + 1


@pytest.fixture(autouse=True)
def place(faked: Path) -> Path:
    """Every model name stands for a fake; photographs are in ``old``."""
    for name in ("a.png", "b.jpg", "<script>window.hacked = 1<", "sub/c.tif"):
        write_gray(faked / "old" / (name if "." in name[-4:] else f"{name}.png"))
    return faked


def colour(*arguments: object) -> int:
    return main(["colorize", *map(str, arguments)])


def save(content: Any, name: str = "picks.json") -> Path:
    Path(name).write_text(json.dumps(content))
    return Path(name)


@pytest.fixture
def sampled(place: Path) -> Path:
    """The report of three samples of each photograph, with a seed beyond JavaScript's exact integers."""
    assert colour("old", "-o", "three", "--samples", 3, "--sigma", 3, "--seed", SEED, "--report", "-q") == 0
    return place / "three" / "report.html"


# reports


def test_the_report_is_easy_to_find(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is at the top of the output folder and named in the last line; scripts learn its path from an event."""
    assert colour("old", "--report") == 0
    path = place / "old_colorized" / "report.html"
    assert capsys.readouterr().err.splitlines()[-1] == f"Report: {path}"
    assert colour("old", "--report", "--json", "-q") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "report.written"
    assert last["path"] == str(path)
    assert last["bytes"] == path.stat().st_size


def test_a_finished_run_gets_its_report_later(place: Path) -> None:
    """Nobody wants to colour eighty thousand photographs again only to get a report."""
    assert colour("old", "-q") == 0
    before = contents(place / "old_colorized")
    assert colour("old", "-q", "--report") == 0
    after = contents(place / "old_colorized")
    text = after.pop("report.html").decode()
    assert after == before
    assert len(page_data(place / "old_colorized" / "report.html")["photos"]) == 4
    assert text.count('id="pictures-') == 4


def test_failures_are_listed_with_their_reasons(place: Path) -> None:
    """What is missing from the gallery, and why, is the first thing to know."""
    (place / "old" / "broken.jpg").write_bytes(b"no JPEG")
    assert colour("old", "-q", "--report", "--samples", 2, "--sigma", 3) == 3
    text = (place / "old_colorized" / "report.html").read_text("utf-8")
    assert "<strong>1 failed</strong>" in text, "once, not once for each sample"
    assert "<bdi>broken.jpg</bdi>: is not a JPEG, PNG, TIFF" in text


def test_facts_of_each_colouring_come_from_the_journal(place: Path) -> None:
    """The numbers in the report are those in the journal."""
    assert colour("old", "-q", "--report") == 0
    photos = {photo["name"]: photo for photo in page_data(place / "old_colorized" / "report.html")["photos"]}
    for _, record in read_status(place / "old_colorized").records():
        values = photos[str(record["input"])]["values"]["colouring"]
        assert values["max_delta_l"] == record["max_delta_l"]
        assert values["fitted_share"] == pytest.approx(100 * float(str(record["fitted_share"])))
    text = (place / "old_colorized" / "report.html").read_text("utf-8")
    assert INFO.weights_sha256 in text


def test_pictures_are_decoded_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that was interrupted after an hour resumes there; a later one costs only what is new."""
    assert colour("old", "-q", "--report") == 0
    path = place / "old_colorized" / "report.html"
    first = path.read_text("utf-8").split('id="pictures-')[1:]

    def never(*_: object) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "read_photo", never)
    monkeypatch.setattr("PIL.Image.open", never)
    assert colour("old", "-q", "--report") == 0
    assert path.read_text("utf-8").split('id="pictures-')[1:] == first


def test_outputs_that_were_changed_are_not_shown_as_ours(place: Path, look: Open) -> None:
    """A file that somebody retouched is kept, and the report says so."""
    assert colour("old", "-q") == 0
    (place / "old_colorized" / "b.jpg").write_bytes(b"something else")
    assert colour("old", "-q", "--report") == 3
    path = place / "old_colorized" / "report.html"
    assert "<bdi>b.jpg</bdi>: has an output that was changed since it was made" in path.read_text("utf-8")
    assert look(path).locator(".photo").count() == 3


def test_a_photograph_that_is_gone_is_shown_by_its_lightness(
    place: Path, look: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Originals may be moved away during a run of a week; the report must still compare."""
    moved = place / "old" / "a.png"

    class Moving(FakeSession):
        def chroma(self, *given: Any) -> Any:
            moved.unlink(missing_ok=True)
            return super().chroma(*given)

    monkeypatch.setattr(opening, "open_model", lambda card, **_: Moving())
    assert colour("old", "-q", "--report", "--include", "a.png") == 0
    page = look(place / "old_colorized" / "report.html")
    assert "the lightness of its colouring is shown instead" in page.locator(".photo").inner_text()
    assert page.locator(".picture img").count() == 2
    page.locator(".picture").first.click()
    assert page.locator("dialog a").count() == 1, "no link to what is not there"


def test_a_foreign_report_is_refused_before_any_work(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal must not come after a night of colouring, and the file must not be replaced."""
    (place / "old_colorized").mkdir()
    (place / "old_colorized" / "report.html").write_text("mine")
    assert colour("old", "-q", "--report") == 8
    assert "is not a colorcli report" in capsys.readouterr().err
    assert contents(place / "old_colorized") == {"report.html": b"mine"}


def test_more_than_fits_one_file(place: Path, monkeypatch: pytest.MonkeyPatch, look: Open) -> None:
    """Ten thousand photographs make ten files that open, not one that does not; a shorter report removes old parts."""
    monkeypatch.setattr(colouring, "MAX_PICTURES", 4)
    assert colour("old", "-q", "--report") == 0
    root = place / "old_colorized"
    assert {path.name for path in root.glob("report*")} == {"report.html", "report-2.html"}
    page = look(root / "report.html")
    assert page.locator(".photo").count() == 2
    page.get_by_role("link", name="3–4").click()
    page.wait_for_url("**/report-2.html")
    assert page.locator(".photo").count() == 2
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    assert colour("old", "-q", "--report") == 0
    assert [path.name for path in root.glob("report*")] == ["report.html"]


def test_the_page_of_a_run_in_a_browser(place: Path, look: Open) -> None:
    """With one colouring each, there is nothing to choose but everything to look at, on a phone too."""
    assert colour("old", "-q", "--report") == 0
    page = look(place / "old_colorized" / "report.html", width=375, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("window.hacked") is None
    assert page.get_by_role("heading", name="<script>window.hacked = 1<.png").is_visible()
    assert page.locator("input[type=radio]").count() == 0
    assert page.locator(".picture img").count() == 8
    page.get_by_label("Sort by", exact=True).select_option("max_delta_l")
    page.locator(".picture").first.click()
    links = page.locator("dialog a").all()
    assert [link.evaluate("a => a.protocol") for link in links] == ["file:", "file:"]
    for link in links:
        assert page.context.new_page().goto(link.evaluate("a => a.href")).ok


# picks


def test_choosing_in_the_browser_makes_exactly_what_was_chosen(sampled: Path, look: Open, place: Path) -> None:
    """What was chosen by keyboard in the browser is made byte for byte."""
    page = look(sampled)
    assert page.locator("#save-picks").is_disabled()
    page.locator(".photo").first.focus()
    for key in ("1", "ArrowRight", "2", "ArrowRight", "0", "0", "Backspace", "ArrowRight"):
        page.keyboard.press(key)
    page.get_by_role("radio", name="s02").last.check()
    assert page.locator("#chosen-count").inner_text() == "3 of 4 chosen"
    page.reload()
    assert page.locator("#chosen-count").inner_text() == "3 of 4 chosen", "kept by the browser"
    page.get_by_label("Show").select_option("open")
    assert page.locator(".photo").count() == 1
    with page.expect_download() as download:
        page.locator("#save-picks").click()
    assert download.value.suggested_filename == "picks.json"
    download.value.save_as(place / "picks.json")
    assert colour("old", "--picks", "picks.json", "-o", "chosen", "-q") == 0
    names = [str(photo["name"]) for photo in page_data(sampled)["photos"]]
    expected = {}
    for name, sample in zip(names, (1, 2, None, 2), strict=True):
        if sample is not None:
            stem, _, suffix = name.rpartition(".")
            expected[name] = contents(sampled.parent)[f"{stem}.s{sample:02}.{suffix}"]
    assert contents(place / "chosen") == expected


def test_in_the_viewer_a_digit_chooses(sampled: Path, look: Open) -> None:
    """Users who look closely choose there; the digit is the number in the file's name."""
    page = look(sampled)
    page.locator(".picture").first.click()
    page.keyboard.press("2")
    assert "s02 on the right" in page.get_by_role("slider").get_attribute("aria-label")
    page.keyboard.press("Escape")
    assert page.locator("figure.chosen figcaption").first.inner_text().strip() == "s02"


def test_opening_a_photograph_shows_the_chosen_sample(sampled: Path, look: Open) -> None:
    """Users who come back to a choice want to see it, not the first sample."""
    page = look(sampled)
    page.locator(".photo").first.focus()
    for key in ("2", "ArrowRight", "1", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert "s02 on the right" in page.get_by_role("slider").get_attribute("aria-label")
    page.keyboard.press("ArrowDown")
    assert "s01 on the right" in page.get_by_role("slider").get_attribute("aria-label")


def test_bars_are_small_on_a_phone_and_every_image_has_alternative_text(sampled: Path, look: Open) -> None:
    """Two wrapped bars took a fifth of the screen; images without text are lost on people who cannot see."""
    page = look(sampled, width=390)
    height = page.evaluate("innerHeight")
    assert page.locator(".choices").bounding_box()["height"] < 0.08 * height
    # The command stays on one line: broken after its hyphen, "-o" could not be copied.
    assert page.locator(".command").bounding_box()["height"] < 40
    page.locator(".picture").first.click()
    assert page.locator("dialog .bar").bounding_box()["height"] < 0.08 * height
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    words = page.evaluate("[...document.querySelectorAll('img')].map(i => i.alt)")
    assert len(words) == 18
    assert all(words)


def test_on_paper_a_report_is_light_and_says_what_was_chosen(sampled: Path, look: Open) -> None:
    page = look(sampled, scheme="dark")
    page.locator(".photo").first.focus()
    page.keyboard.press("1")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--surface').trim()") == "#fff"
    assert not page.locator(".choices").is_visible() and not page.locator(".choosing").is_visible()
    label = page.locator("figure.chosen label").first
    assert label.evaluate("l => getComputedStyle(l, '::after').content") == '" (chosen)"'


def test_a_report_begins_with_how_the_run_ended(place: Path, look: Open) -> None:
    """What went wrong comes first, not below a screen of photographs."""
    (place / "old" / "broken.png").write_bytes(b"no picture")
    assert colour("old", "-q", "--report") == 3
    page = look(place / "old_colorized" / "report.html")
    terms = page.locator("dl.summary dt").all_inner_texts()
    values = dict(zip(terms, page.locator("dl.summary dd").all_inner_texts(), strict=True))
    assert terms[0] == "Failed"
    assert (values["Failed"], values["Coloured"], values["Exit code"], values["Model"]) == ("1", "4", "3", INFO.name)
    assert values["Last run"].endswith(" s")


def test_several_classes_give_a_colouring_each(place: Path) -> None:
    """Is it a cat or a fox? Each colouring equals that of a run for its class alone, and a choice is made again."""
    common = ("--samples", 2, "--sigma", 3, "-q")
    assert colour("old", "-o", "both", "--class", "tabby, 277", "--report", *common) == 0
    labels = [column["label"] for column in page_data(place / "both" / "report.html")["columns"]]
    assert labels[1:] == ["s00 tabby (281)", "s01 red fox (277)", "s02 tabby (281)", "s03 red fox (277)"]
    both = contents(place / "both")
    for name, outputs in (("tabby", ("a.s00.png", "a.s02.png")), ("red_fox", ("a.s01.png", "a.s03.png"))):
        assert colour("old", "-o", name, "--class", name, *common) == 0
        alone = contents(place / name)
        assert [both[output] for output in outputs] == [alone["a.s00.png"], alone["a.s01.png"]]
    assert len({both[f"a.s0{k}.png"] for k in range(4)}) == 4
    picks = save(picks_of(place / "both" / "report.html", {"a.png": 3}))
    assert colour("old", "--picks", picks, "-o", "chosen", "-q") == 0
    assert contents(place / "chosen")["a.png"] == both["a.s03.png"]


def test_picks_are_made_by_the_backend_that_made_the_samples(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch made the samples and ONNX Runtime the picks: seven of eight files had other bytes."""
    asked = _engines(monkeypatch)
    assert colour("old", "-o", "three", "--samples", 3, "--sigma", 3, "-q", "--report") == 0
    chosen = picks_of(place / "three" / "report.html", {"a.png": 1})
    (pick,) = chosen["picks"]
    assert (pick["backend"], pick["precision"]) == ("onnx", "fp32")
    picks = save(chosen)
    assert colour("old", "--picks", picks, "-o", "chosen", "-q") == 0
    assert asked == [("auto", "auto"), ("onnx", "fp32")]
    assert colour("old", "--picks", picks, "--backend", "pytorch", "-o", "other", "-q") == 2
    for head, wanted in (({"backend": "pytorch", "precision": "fp32"}, ("pytorch", "fp32")), ({}, ("auto", "auto"))):
        earlier = {key: value for key, value in pick.items() if key not in ("backend", "precision")}
        assert colour("old", "--picks", save({**chosen, **head, "picks": [earlier]}), "-o", wanted[0], "-q") == 0
        assert asked[-1] == wanted


def test_picks_among_the_samples_of_several_backends(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if a run was continued on another machine, each chosen colouring comes out as it was seen."""
    asked = _engines(monkeypatch)
    samples = ("old", "-o", "three", "--samples", 2, "--sigma", 3, "-q")
    assert colour(*samples, "--include", "a.png") == 0
    assert colour(*samples, "--backend", "pytorch", "--report") == 0
    (place / "old" / "broken.png").write_bytes(b"no picture")
    picks = save(picks_of(place / "three" / "report.html", {"a.png": 1, "b.jpg": 1, "sub/c.tif": 0}))
    assert colour("old", "--picks", picks, "-o", "chosen", "--json") == 0
    assert asked[2:] == [("onnx", "fp32"), ("pytorch", "fp32")]
    made, chosen = contents(place / "three"), contents(place / "chosen")
    assert chosen == {"a.png": made["a.s01.png"], "b.jpg": made["b.s01.jpg"], "sub/c.tif": made["sub/c.s00.tif"]}
    out, err = capsys.readouterr()
    ends = [event for event in map(json.loads, out.splitlines()) if event["event"] == "run.end"]
    assert [(end["matched"], end["done"]) for end in ends] == [(1, 1), (2, 2)]
    assert "3 coloured, 0 skipped, 0 failed" in err
    assert colour("old", "--picks", picks, "-o", "chosen") == 0
    assert "0 coloured, 3 done already" in capsys.readouterr().err


def _engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Backend and precision of each model opened from now on; ``auto`` is ONNX Runtime."""
    asked: list[tuple[str, str]] = []

    def opened(card: ModelCard, *, backend: str, precision: str, **_: Any) -> FakeSession:
        asked.append((backend, precision))
        session = FakeSession(lambda lightness, chroma: chroma * (0.8 if backend == "pytorch" else 1))
        session.backend = "pytorch" if backend == "pytorch" else "onnxruntime"
        return session

    monkeypatch.setattr(opening, "open_model", opened)
    return asked


def test_picks_join_the_samples_folder(sampled: Path, place: Path) -> None:
    """Picks may be written beside the samples: names do not collide, and each run knows its own files."""
    before = contents(place / "three")
    picks = save(picks_of(sampled, {"a.png": 1, "sub/c.tif": 0}))
    assert colour("old", "--picks", picks, "-o", "three", "-q") == 0
    after = contents(place / "three")
    assert {name: after[name] for name in before} == before
    assert after["a.png"] == after["a.s01.png"]
    assert after["sub/c.tif"] == after["sub/c.s00.tif"]
    assert set(after) - set(before) == {"a.png", "sub/c.tif"}
    assert colour("old", "--picks", picks, "-o", "three", "-q") == 0, "again: done already"


def test_a_later_choice_replaces_nothing_without_overwrite(
    sampled: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was chosen yesterday stays until --overwrite says otherwise."""
    save(picks_of(sampled, {"a.png": 1}))
    assert colour("old", "--picks", "picks.json", "-o", "chosen", "-q") == 0
    save(picks_of(sampled, {"a.png": 2}))
    assert colour("old", "--picks", "picks.json", "-o", "chosen") == 3
    assert "another of its samples (1, now 2); --overwrite replaces it" in capsys.readouterr().err
    assert contents(place / "chosen")["a.png"] == contents(place / "three")["a.s01.png"]
    assert colour("old", "--picks", "picks.json", "-o", "chosen", "-q", "--overwrite") == 0
    assert contents(place / "chosen")["a.png"] == contents(place / "three")["a.s02.png"]


def test_a_chosen_colouring_in_another_format(sampled: Path, place: Path) -> None:
    """Samples may be small JPEGs and picks TIFFs for the archive, with the same colours."""
    picks = save(picks_of(sampled, {"a.png": 1}))
    assert colour("old", "--picks", picks, "-o", "chosen", "--format", "tiff", "-q") == 0
    assert list(contents(place / "chosen")) == ["a.tif"]
    (_, record), *_ = read_status(place / "chosen").records()
    assert (record["sample"], record["parameters"]["seed"]) == (1, SEED)


def test_a_photograph_that_changed_is_not_mistaken_for_the_chosen_one(
    sampled: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If somebody rescanned it, the colours that were seen belong to the old scan."""
    picks = save(picks_of(sampled, {"a.png": 1, "b.jpg": 0}))
    write_gray(place / "old" / "a.png", value=90)
    assert colour("old", "--picks", picks, "-o", "chosen") == 3
    assert "a.png: is not the file whose colouring was chosen" in capsys.readouterr().err
    assert list(contents(place / "chosen")) == ["b.jpg"]


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (lambda c: c["picks"][0].update(input="nowhere.png"), [], "not among the inputs: nowhere.png"),
        (lambda c: c.update(weights_sha256="cd" * 32), [], "with weights cdcdcdcd…, and fake"),
        (lambda c: None, ["--seed", "8"], f"--seed {SEED}, not 8"),
        (lambda c: None, ["--sigma", "0.8"], "--sigma 3.0, not 0.8"),
        (lambda c: None, ["--class", "3"], "--class -1, not 3"),
        (lambda c: None, ["--samples", "3"], "omit --samples"),
        (lambda c: c.update(version=2), [], "newer colorcli"),
        (lambda c: c.pop("parameters"), [], "it lacks 'parameters'"),
        (lambda c: c.update(parameters=[]), [], "parameters must be an object, not []"),
        (lambda c: c.update(version="1"), [], "its version is not a number"),
        (lambda c: c.update(picks={}), [], "its picks are not a list"),
        (lambda c: c["parameters"].update(sigma=float("nan")), [], "sigma cannot be nan"),
        (lambda c: c["parameters"].update(format="../x"), [], "format cannot be ../x"),
        (lambda c: c["picks"][0].update(sample=-1), [], "not a number from 0 to 999"),
        (lambda c: c["picks"].append({**c["picks"][0], "sample": 2}), [], "two samples of a.png"),
    ],
)
def test_picks_that_cannot_be_followed(
    change: Change, arguments: list[str], said: str, sampled: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Making nothing is better than making colours that nobody chose."""
    content = picks_of(sampled, {"a.png": 1})
    change(content)
    assert colour("old", "--picks", save(content), "-o", "chosen", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (place / "chosen").exists()


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "it is not JSON"), (b"[]", "not a picks file: it must be an object"), (None, "read")]
)
def test_files_that_are_not_picks(content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They give a sentence, not a traceback."""
    if content is not None:
        Path("picks.json").write_bytes(content)
    assert colour("old", "--picks", "picks.json") == 2
    assert said in capsys.readouterr().err


def test_picks_override_options_from_the_environment(sampled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default in colorcli.toml or the environment applies only if nothing else is given; picks give it."""
    monkeypatch.setenv("COLORCLI_COLORIZE_SEED", "99")
    picks = save(picks_of(sampled, {"a.png": 1}))
    assert colour("old", "--picks", picks, "-o", "chosen", "-q") == 0
    assert contents(Path("chosen"))["a.png"] == contents(sampled.parent)["a.s01.png"]


def test_picks_of_several_files_and_folders(place: Path) -> None:
    """Reports in parts save choices in parts; photographs of the same name are distinguished by their folders."""
    for folder in ("x", "y"):
        write_gray(place / folder / "same.png", value=60 if folder == "x" else 160)
    assert colour("x", "y", "-o", "both", "--samples", 2, "--sigma", 3, "--report", "-q") == 0
    content = picks_of(place / "both" / "report.html", {"same.png": 0})
    assert len(content["picks"]) == 2
    first, second = content["picks"]
    save({**content, "picks": [first]})
    save({**content, "picks": [{**second, "sample": 1}]}, "picks-2.json")
    assert colour("x", "y", "-o", "out", "--picks", "picks.json", "--picks", "picks-2.json", "-q") == 0
    made = contents(place / "both")
    assert contents(place / "out") == {"x/same.png": made["x/same.s00.png"], "y/same.png": made["y/same.s01.png"]}


def test_patterns_narrow_what_was_chosen(sampled: Path, place: Path) -> None:
    """--include selects some of the choices; the others are not errors."""
    picks = save(picks_of(sampled, {"a.png": 1, "b.jpg": 0}))
    assert colour("old", "--picks", picks, "-o", "chosen", "--include", "*.jpg", "-q") == 0
    assert list(contents(place / "chosen")) == ["b.jpg"]


def test_the_model_comes_from_the_picks(sampled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Picks by another model than the default need no --model; a wrong one is refused."""
    asked = []

    def find(name: str) -> ModelCard:
        asked.append(name)
        return CARD if name != "other" else replace(CARD, weights_sha256="cd" * 32)

    monkeypatch.setattr(registry, "find", find)
    picks = save(picks_of(sampled, {"a.png": 1}))
    assert colour("old", "--picks", picks, "-o", "chosen", "-q") == 0
    assert asked == [json.loads(page_data(sampled)["choice"]["header"])["model"]]
    assert colour("old", "--picks", picks, "-o", "chosen", "-q", "--model", "other") == 2
