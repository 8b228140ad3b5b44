"""Whole evaluations, with stand-ins for models."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colorcli.color.join import join
from colorcli.color.metrics import psnr_rgb8
from colorcli.errors import ModelError, UsageError
from colorcli.evaluate import perceptual, protocols
from colorcli.evaluate.data import decode
from colorcli.evaluate.engine import Evaluation, EvaluationOptions
from colorcli.evaluate.perceptual import frechet_distance
from colorcli.evaluate.prepare import fit, to_gray, to_rgb8
from colorcli.evaluate.protocols import Protocol
from colorcli.evaluate.report import FID_LEAST
from colorcli.evaluate.run import Request, Run
from colorcli.evaluate.scoring import Scorer
from colorcli.pipeline.controls import random_code
from colorcli.registry import splits
from colorcli.registry.card import ModelCard, write_card
from colorcli.report.records import Report
from colorcli.stopping import Stop

from ..fakes import FlatSession
from .conftest import photograph, write

SMALL = Protocol("small@1", "", "crop", 48, metrics=("psnr", "ssim", "delta-e", "colorfulness"))
TIMING = ("created", "milliseconds", "memory_mb", "seconds")


def evaluate(*roots: Path, options: EvaluationOptions | None = None, **request: Any) -> Report:
    request = {"protocol": SMALL, "models": ("fake",), **request}
    return Run(Request(roots=roots, **request), options or EvaluationOptions(jobs=2)).carry_out()


def without_times(report: Any) -> Any:
    if isinstance(report, dict):
        return {key: without_times(value) for key, value in report.items() if key not in TIMING}
    return [without_times(value) for value in report] if isinstance(report, list) else report


def test_every_model_stands_beside_gray_and_the_original(photos: Path, models: dict[str, Any]) -> None:
    """Gray has a high PSNR without any colour: readers must be able to compare models with it."""
    report = evaluate(photos, models=("fake", "other"))
    assert [model["name"] for model in report["models"]] == ["gray", "fake@test", "other@test", "original"]
    assert report["data"]["images"] == 12 and not report["failures"]
    assert report["summary"]["gray"]["colorfulness"]["mean"] == 0
    assert report["summary"]["original"]["colorfulness"]["mean"] > 10
    assert report["summary"]["original"]["psnr"]["mean"] is None
    image = report["images"][3]
    original = fit(to_rgb8(decode((photos / image["name"]).read_bytes(), "")[0].pixels), SMALL)
    gray = to_gray(original, "luma601")
    colored = to_rgb8(join(gray, np.array([10, 20], np.float32)[:, None, None]))
    assert image["values"]["fake@test"]["psnr"] == psnr_rgb8(colored, original)
    assert image["values"]["gray"]["psnr"] == psnr_rgb8(to_rgb8(gray), original)
    pairs = {(pair["metric"], pair["a"], pair["b"]) for pair in report["paired"]}
    assert ("psnr", "other@test", "fake@test") in pairs and ("psnr", "fake@test", "gray") in pairs
    assert not any(metric == "colorfulness" for metric, _, _ in pairs)
    worst, best = (report["extremes"]["psnr"]["fake@test"][key][0] for key in ("worst", "best"))
    by_psnr = sorted(report["images"], key=lambda each: each["values"]["fake@test"]["psnr"] or 0)
    assert (worst, best) == (by_psnr[0]["name"], by_psnr[-1]["name"])
    assert all(model["milliseconds"] >= 0 for model in report["models"][1:3])


def test_a_run_repeats_to_the_last_digit(photos: Path, models: dict[str, Any]) -> None:
    """This holds for any number of threads, and for random models."""
    models["random"] = FlatSession("random@test", controls=("z",))
    request = {"models": ("fake", "random"), "metrics": (*SMALL.metrics, "diversity", "auc-rebalanced")}
    first = evaluate(photos, **request, options=EvaluationOptions(seeds=2, samples=3, jobs=1))
    again = evaluate(photos, **request, options=EvaluationOptions(seeds=2, samples=3, jobs=4))
    assert without_times(first) == without_times(again)
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_the_amount_of_colour_is_as_asked_and_in_the_protocol(photos: Path, models: dict[str, Any]) -> None:
    """Scores for another vividness or strength must not be taken for those of the unchanged model."""
    amounts: list[dict[str, Any]] = [{"vividness": 0.1}, {}, {"vividness": 0.9}, {"strength": 2.0}]
    reports = [evaluate(photos, protocol=SMALL.changed(**amount)) for amount in amounts]
    low, own, high, double = (report["summary"]["fake@test"]["colorfulness"]["mean"] for report in reports)
    assert low < own < high
    assert double > 1.5 * own
    ids = [report["protocol"]["id"] for report in reports]
    assert ids == ["small@1+vividness=0.1", "small@1", "small@1+vividness=0.9", "small@1+strength=2.0"]


def test_seeds_and_samples(photos: Path, models: dict[str, Any]) -> None:
    """Random models are scored over several seeds, with a standard deviation; other models have none."""
    models["random"] = FlatSession("random@test", controls=("z",))
    report = evaluate(
        photos,
        models=("fake", "random"),
        metrics=("psnr", "diversity"),
        options=EvaluationOptions(seeds=3, samples=4, jobs=2),
    )
    summary = report["summary"]
    assert summary["random@test"]["psnr"]["sd_over_seeds"] > 0
    assert "sd_over_seeds" not in summary["fake@test"]["psnr"]
    spread = [summary["random@test"][f"diversity@{sigma:g}"]["mean"] for sigma in SMALL.sigmas]
    assert 0 < spread[0] < spread[1] < spread[2]
    assert summary["fake@test"]["diversity@3"]["mean"] is None


def test_both_definitions_of_delta_colorfulness(tmp_path: Path, models: dict[str, Any]) -> None:
    """Too much colour in one photograph and too little in another cancel in only one of the definitions."""
    for name in ("a.png", "b.png"):
        write(tmp_path / "in" / name, photograph("4.png"))
    ids = ("delta-colorfulness", "delta-colorfulness-mean", "colorfulness")
    made = tmp_path / "made"
    photo = photograph("4.png").astype(float)
    gray = photo.mean(axis=2, keepdims=True)
    for name, factor in (("a.png", 1.3), ("b.png", 0.7)):
        write(made / name, np.clip(np.rint(gray + factor * (photo - gray)), 0, 255).astype(np.uint8))
    native = protocols.load("native")
    summary = evaluate(made, truth=tmp_path / "in", metrics=ids, protocol=native, models=())["summary"]
    means = {name: summary["made"][name]["mean"] for name in ids}
    original = summary["original"]["colorfulness"]["mean"]
    assert means["delta-colorfulness-mean"] == pytest.approx(abs(means["colorfulness"] - original))
    assert means["delta-colorfulness"] > 5 * means["delta-colorfulness-mean"]


def test_what_cannot_be_scored_is_counted_and_the_rest_goes_on(photos: Path, models: dict[str, Any]) -> None:
    """One damaged file among a thousand must not end the run."""
    (photos / "cut.png").write_bytes((photos / "3.png").read_bytes()[:300])
    write(photos / "gray.png", np.repeat(photograph("1.png")[..., :1], 3, 2))
    report = evaluate(photos)
    assert report["data"] == {"roots": [str(photos)], "images": 12, "failed": 2, "left": 0}
    reasons = {failure["name"]: failure["reason"] for failure in report["failures"]}
    assert "no colour to compare with" in reasons["gray.png"]
    assert reasons["cut.png"].startswith("is"), "the reason follows the name and must not repeat it"


def test_no_model_has_the_scoring_of_others_beside_it_more_than_another(photos: Path, models: dict[str, Any]) -> None:
    """Otherwise two copies of one network would differ in seconds, and one would be called better."""
    asked: list[str] = []

    def noted(name: str) -> Any:
        return lambda lightness: asked.append(name)

    for name in ("fake", "other"):
        models[name] = FlatSession(name, fault=noted(name))
    evaluate(photos, models=("fake", "other"), metrics=("psnr", "seconds"))
    while_scoring = asked[-24:]
    assert while_scoring[::2] == ["fake", "other"] * 6


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda lightness: np.full((len(lightness), 2, 8, 8), np.nan, np.float32), "not numbers"),
        (lambda lightness: np.zeros((len(lightness), 3, 8, 8), np.float32), "wrong shape"),
    ],
)
def test_a_network_that_answers_nonsense_fails(photos: Path, models: dict[str, Any], answer: Any, reason: str) -> None:
    """Otherwise NaN would be averaged, or omitted unnoticed."""
    models["broken"] = FlatSession("broken@test", fault=answer)
    report = evaluate(photos, models=("fake", "broken"))
    assert report["data"]["images"] == 0
    assert all("broken@test" in failure["reason"] and reason in failure["reason"] for failure in report["failures"])


def test_another_tools_colourings(photos: Path, tmp_path: Path, models: dict[str, Any]) -> None:
    """Outputs of other programs are scored like our own; each one of another size is a failure."""
    made = tmp_path / "rival"
    for name in ("0.png", "1.png"):
        write(made / name, photograph(name))
    write(made / "2.png", photograph("2.png")[:40])
    report = evaluate(made, truth=photos, models=(), protocol=protocols.load("native"), metrics=("psnr", "ssim"))
    assert [model["name"] for model in report["models"]] == ["gray", "rival", "original"]
    # Equal images have an infinite PSNR, which cannot be averaged or written as JSON.
    assert report["summary"]["rival"]["ssim"]["mean"] == pytest.approx(1)
    assert report["summary"]["rival"]["psnr"]["mean"] is None
    assert report["summary"]["rival"]["psnr"]["infinite"] == 2
    assert "PSNR of rival is infinite for 2 of 2 photographs" in report["notes"][0]
    reasons = {failure["name"]: failure["reason"] for failure in report["failures"]}
    assert "90 x 40" in reasons["2.png"] and "90 x 72" in reasons["2.png"]
    assert len(reasons) == 10


class FakePerceptual:
    """A stand-in for the metric networks that only uses mean colours."""

    def __init__(self, names: Sequence[str], given: Any, device: str) -> None:
        self.hashes = dict.fromkeys(names, "cd" * 32)

    def lpips(self, name: str, pictures: Sequence[Any], original: Any) -> list[float]:
        return [float(abs(picture.mean() - original.mean())) for picture in pictures]

    def mean_pairwise_lpips(self, name: str, pictures: Sequence[Any]) -> float:
        return float(np.std([picture.mean() for picture in pictures]))

    def inception(self, pictures: Sequence[Any]) -> Any:
        return np.stack([picture.mean((0, 1)) for picture in pictures])


def test_metrics_that_are_networks(photos: Path, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value stands in its own row, and a note says that the FID is of only twelve photographs."""
    monkeypatch.setattr(perceptual, "Perceptual", FakePerceptual)
    models["random"] = FlatSession("random@test", controls=("z",))
    metrics = ("lpips-alex", "fid", "diversity-lpips", "colorfulness")
    options = EvaluationOptions(seeds=2, samples=3, jobs=2)
    report = evaluate(photos, models=("other", "random"), metrics=metrics, force=True, options=options)
    summary = report["summary"]
    assert summary["original"]["fid"]["mean"] is None and summary["gray"]["fid"]["mean"] > 0
    assert summary["gray"]["fid"]["low"] is None
    assert report["metric_networks"] == {"lpips-alex": "cd" * 32, "inception-fid": "cd" * 32}
    assert any("FID is of 12 photographs, fewer than 2,048" in note for note in report["notes"])
    assert summary["random@test"]["diversity-lpips@10"]["mean"] > 0
    assert summary["random@test"]["lpips-alex"]["sd_over_seeds"] >= 0
    kept: dict[tuple[str, str], Any] = {}
    request = Request(SMALL, metrics=metrics, roots=(photos,), models=("other",), force=True)
    run = Run(request, options)
    scorer = Scorer(run.metrics, run._perceptual, None, lambda name, model, rgb: kept.update({(name, model): rgb}))
    outcome = Evaluation(SMALL, run.models, scorer, options).run(run.dataset)
    means = {m: np.stack([kept[i.name, m].mean((0, 1)) for i in outcome.images]) for m in ("other@test", "original")}
    expected = frechet_distance(means["other@test"], means["original"])
    assert summary["other@test"]["fid"]["mean"] == pytest.approx(expected, rel=1e-3)
    first = report["images"][0]
    gap = abs(kept[first["name"], "other@test"].mean() - kept[first["name"], "original"].mean())
    assert first["values"]["other@test"]["lpips-alex"] == pytest.approx(gap)


def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, models: dict[str, Any]) -> None:
    """A tar file from an unknown source must not write outside the folder."""
    write(tmp_path / "a.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "../../../evil.png")
    evaluate(tmp_path / "shard.tar", options=EvaluationOptions(save_ab=tmp_path / "deep" / "ab"))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("evil*")] == [
        "deep/ab/fake@test/shard/evil.png.npz"
    ]


def test_chroma_can_be_kept(photos: Path, tmp_path: Path, models: dict[str, Any]) -> None:
    models["runs/x"] = FlatSession("runs/x")
    evaluate(photos, models=("runs/x",), options=EvaluationOptions(save_ab=tmp_path / "ab"))
    with np.load(tmp_path / "ab" / "runs_x" / "sub" / "x.png.npz", allow_pickle=False) as stored:
        assert stored["ab"].shape == (2, 32, 32)
        assert stored["ab"][1].min() == 20


def test_the_folder_of_a_report(photos: Path, tmp_path: Path, models: dict[str, Any]) -> None:
    report = evaluate(photos, models=("fake", "other"), output=tmp_path / "report", command=("colorcli", "evaluate"))
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written == report
    assert written["images"][0]["sha256"] and written["software"]["colorcli"] and written["models"][1]["weights_sha256"]
    lines = (tmp_path / "report" / "images.csv").read_text().splitlines()
    assert len(lines) == 1 + 12 * 4
    assert "other@test" in (tmp_path / "report" / "table.csv").read_text()
    assert "small@1" in (tmp_path / "report" / "table.md").read_text()
    assert r"\begin{tabular}{lrrrrr}" in (tmp_path / "report" / "table.tex").read_text()
    assert "<html" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_what_would_mean_nothing_is_refused_before_hours_are_spent(photos: Path, models: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"FID of 12 photographs.*{FID_LEAST:,}.*--force"):
        evaluate(photos, metrics=("fid",))
    with pytest.raises(UsageError, match="add --native"):
        evaluate(photos, metrics=("native-mse",))
    models["gray"] = FlatSession("gray")
    with pytest.raises(UsageError, match="another row"):
        evaluate(photos, models=("gray",))


def test_metric_networks_that_are_not_here(
    photos: Path, models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to do, before anything is coloured."""
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="models pull lpips-alex"):
        evaluate(photos, metrics=("lpips-alex",))
    with pytest.raises(ModelError, match="not there"):
        evaluate(photos, metrics=("lpips-alex",), weights={"lpips-alex": tmp_path / "absent.safetensors"})


def test_a_model_that_was_chosen_on_these_photographs_is_marked(
    photos: Path, tmp_path: Path, models: dict[str, Any]
) -> None:
    """A checkpoint chosen by its score on a set scores better on that set than on others."""
    run = tmp_path / "run"
    run.mkdir()
    chosen = "best psnr in a check every 500 steps, on 20 photographs held back"
    card = ModelCard("fake", "fake", "ab" * 32, training={"selection": chosen})
    write_card(card, run)
    models[str(run)] = FlatSession(str(run))
    report = evaluate(photos, models=(str(run),))
    assert report["models"][1]["selection"] == chosen
    assert not any("was chosen on" in note for note in report["notes"])
    hashes = {image["name"]: image["sha256"] for image in report["images"][:3]}
    splits.write(run, "held-back", splits.Split((str(photos),), hashes))
    note = f"{run} was chosen on 3 of these {len(report['images'])} photographs"
    assert any(note in text for text in evaluate(photos, models=(str(run),))["notes"])
    write_card(dataclasses.replace(card, training={"selection": "the last step; nothing was chosen"}), run)
    assert not any("was chosen on" in text for text in evaluate(photos, models=(str(run),))["notes"])


def test_a_model_that_learnt_from_these_photographs_is_marked(
    photos: Path, tmp_path: Path, models: dict[str, Any]
) -> None:
    """Photographs that the network was trained on are recognised by content, whatever their names and folders."""
    run = tmp_path / "run"
    run.mkdir()
    write_card(ModelCard("fake", "fake", "ab" * 32, training={"selection": "the last step"}), run)
    models[str(run)] = FlatSession(str(run))
    report = evaluate(photos, models=(str(run),))
    hashes = {f"elsewhere/{index}": image["sha256"] for index, image in enumerate(report["images"][:2])}
    splits.write(run, "training", splits.Split(("/elsewhere",), hashes))
    note = f"{run} learnt from 2 of these {len(report['images'])} photographs"
    assert any(note in text for text in evaluate(photos, models=(str(run),))["notes"])


class ClassSession(FlatSession):
    """A session that returns an a* depending on the given class, or 0 without one."""

    def chroma(self, lightness: Any, controls: Any = None) -> Any:
        answer = np.zeros((len(lightness), 2, 32, 32), np.float32)
        given = np.asarray((controls or {}).get("class_index", np.full(len(lightness), -1)))
        # Only half of the image, since diversity ignores tints.
        answer[:, 0, :16] = np.maximum(given, 0)[:, None, None] % 60
        answer[:, 1] = 5
        return answer


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Two photographs in folders named by their classes, and one in a shard with a file for its class."""
    for name in ("goldfish/a.png", "tench/b.png"):
        write(tmp_path / "data" / name)
    write(tmp_path / "c.png")
    (tmp_path / "c.cls").write_text("24")
    with tarfile.open(tmp_path / "data" / "shard.tar", "w") as archive:
        archive.add(tmp_path / "c.cls", "c.cls")
        archive.add(tmp_path / "c.png", "c.png")
    return tmp_path / "data"


def test_a_network_that_takes_a_class_is_given_the_true_one(
    labelled: Path, tmp_path: Path, models: dict[str, Any]
) -> None:
    """Wang et al. test variants 3 to 6 with the true class: without it, results would not be comparable."""
    models["classy"] = ClassSession("classy@test", controls=("class_index",))

    def given(**options: Any) -> dict[str, float]:
        folder = tmp_path / f"ab{len(list(tmp_path.glob('ab*')))}"
        evaluate(labelled, models=("classy",), options=EvaluationOptions(jobs=2, save_ab=folder), **options)
        return {path.stem[:-4]: float(np.load(path)["ab"][0].max()) for path in folder.rglob("*.npz")}

    assert given() == {"a": 0, "b": 0, "c": 0}
    folders = given(protocol=SMALL.changed(labels="folders"))
    assert folders == {"a": 1, "b": 0, "c": 24}
    table = tmp_path / "classes.csv"
    table.write_text("name,class\ngoldfish/a.png,7\ntench/b.png,great white shark\n")
    assert given(protocol=SMALL.changed(labels=str(table))) == {"a": 7, "b": 2, "c": 0}
    assert SMALL.changed(labels="folders").id == "small@1+labels=folders"


def test_a_model_is_steered_as_by_colorize(labelled: Path, models: dict[str, Any]) -> None:
    """Scores for ``--sigma 3`` must be those of the photographs that ``colorize --sigma 3`` writes."""
    models["random"] = FlatSession("random@test", controls=("z", "class_index"))
    steered = SMALL.changed(controls={"sigma": 3.0, "class_index": 7})
    report = evaluate(labelled, models=("random", "fake"), protocol=steered, options=EvaluationOptions(seed=5, jobs=1))
    codes = {tuple(asked["z"][0]) for asked in models["random"].asked if asked["z"].any()}
    assert codes == {tuple(random_code(5, image["name"], 0, 3.0)) for image in report["images"]}
    assert {int(asked["class_index"][0]) for asked in models["random"].asked} == {-1, 7}, "-1 is used for timing"
    assert report["protocol"]["id"] == "small@1+sigma=3.0+class_index=7" and report["protocol"]["sigma"] == 3.0
    for controls, reason in (
        ({"sigma": 3.0}, r"--sigma is for models that can take a random code \(fake@test cannot\)"),
        ({"class_index": (1, 2)}, "one value of --class"),
    ):
        names = ("random",) if "class_index" in controls else ("fake",)
        with pytest.raises(UsageError, match=reason):
            evaluate(labelled, models=names, protocol=SMALL.changed(controls=controls))
    with pytest.raises(UsageError, match="--class and --labels both"):
        evaluate(labelled, models=("random",), protocol=steered.changed(labels="folders"))


def test_labels_that_nobody_can_take_are_refused(labelled: Path, models: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"for models that can take a class \(fake"):
        evaluate(labelled, protocol=SMALL.changed(labels="folders"))
    models["classy"] = ClassSession("classy@test", controls=("class_index",))
    (labelled / "goldfish").rename(labelled / "unicorns")
    with pytest.raises(UsageError, match="no ImageNet class 'unicorns'"):
        evaluate(labelled, models=("classy",), protocol=SMALL.changed(labels="folders"))


def test_diversity_over_classes_is_that_of_the_likeliest_ones(labelled: Path, models: dict[str, Any]) -> None:
    """García et al., section 4.4: how much a photograph's colours depend on its assumed class."""
    models["classy"] = ClassSession("classy@test", controls=("class_index",))
    report = evaluate(
        labelled, models=("classy", "fake"), metrics=("psnr",), options=EvaluationOptions(jobs=1, classes=4)
    )
    summary = report["summary"]
    assert summary["classy@test"]["diversity-classes"]["mean"] > 1
    assert summary["fake@test"]["diversity-classes"]["mean"] is None
    with pytest.raises(UsageError, match="at least 2"):
        evaluate(labelled, models=("classy",), metrics=("diversity-classes",))


def test_a_stop_keeps_what_is_finished_and_says_what_is_missing(
    photos: Path, models: dict[str, Any], tmp_path: Path
) -> None:
    """Ctrl-C must not lose hours of evaluation, and a partial report must not look complete."""
    stop = Stop()
    events = []

    def observe(record: Mapping[str, object]) -> None:
        events.append(record["event"])
        if record["event"] == "photo.done":
            stop.request(2)

    request = Request(SMALL, roots=(photos,), models=("fake",), output=tmp_path / "out")
    report = Run(request, EvaluationOptions(jobs=1)).carry_out(observe, stop)
    assert events[:2] == ["run.start", "photo.done"], "or compiling would count as the first photograph's time"
    assert 0 < report["data"]["images"] < 12
    assert report["data"]["left"] == 12 - report["data"]["images"]
    assert "Stopped before the end" in report["notes"][0]
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(written["images"]) == report["data"]["images"]
