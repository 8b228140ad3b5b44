"""What an evaluation reports: the layout of ``report.json``, of which the tables and the page are made.

Fields may be added under the same ``VERSION``; one that changes its meaning raises it.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

VERSION = 1


class MetricRecord(TypedDict):
    """What is measured; see ``evaluate.metrics.Metric``."""

    id: str
    label: str
    unit: str
    better: Literal["higher", "lower", "none"]
    decimals: int
    per_image: bool
    text: str


class Cost(TypedDict, total=False):
    """What a model costs for one photograph of 1:1 at its working size; None where that is unknown."""

    parameters: int | None
    multiply_adds: int | None
    memory_mb: int | None
    milliseconds: float


CostName = Literal["parameters", "multiply_adds", "milliseconds", "memory_mb"]


class ModelRecord(Cost):
    """A row of the table: the gray photograph, a model, another tool's colourings, or the original.

    Only models have costs and say what ran them.
    """

    name: str
    weights_sha256: NotRequired[str | None]
    system: NotRequired[str]
    backbones: NotRequired[dict[str, str]]
    backend: NotRequired[str]
    device: NotRequired[str]
    precision: NotRequired[str]
    compiled: NotRequired[bool]
    selection: NotRequired[Any]


class Score(TypedDict):
    """A model's number by one metric, with its 95 % interval; None where there is none.

    ``infinite`` photographs are left out of it; ``sd_over_seeds`` is the spread of its means over seeds.
    """

    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    infinite: NotRequired[int]
    sd_over_seeds: NotRequired[float]


class PairedRecord(TypedDict):
    """The mean difference of ``a`` from ``b`` over the photographs that both have, its interval, and a verdict on a."""

    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    verdict: str


class Extremes(TypedDict):
    """Names of the best and the worst photographs, the extreme one first."""

    best: list[str]
    worst: list[str]


class ImageRecord(TypedDict):
    """A photograph and its numbers by model and metric, means over seeds."""

    name: str
    sha256: str
    width: int
    height: int
    values: dict[str, dict[str, float | None]]


class Failure(TypedDict):
    """A photograph that could not be scored, and why."""

    name: str
    reason: str


class Counts(TypedDict):
    """Where the photographs were, and how many were scored, failed, and were left by an early end."""

    roots: list[str]
    images: int
    failed: int
    left: int


class Report(TypedDict):
    """All that an evaluation says; ``protocol`` is ``evaluate.protocols.Protocol.record``."""

    version: int
    title: str
    created: str
    protocol: dict[str, Any]
    options: dict[str, int]
    intervals: dict[str, Any]
    software: dict[str, str]
    command: list[str]
    machine: dict[str, Any]
    data: Counts
    models: list[ModelRecord]
    metrics: list[MetricRecord]
    metric_networks: dict[str, str]
    summary: dict[str, dict[str, Score]]
    paired: list[PairedRecord]
    extremes: dict[str, dict[str, Extremes]]
    notes: list[str]
    images: list[ImageRecord]
    failures: list[Failure]
