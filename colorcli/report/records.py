"""The layout of ``report.json``, from which an evaluation's tables and page are made.

Fields may be added without raising ``VERSION``; changing the meaning of one raises it.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

VERSION = 1


class MetricRecord(TypedDict):
    """A metric; see ``evaluate.metrics.Metric``."""

    id: str
    label: str
    unit: str
    better: Literal["higher", "lower", "none"]
    decimals: int
    per_image: bool
    text: str


class Cost(TypedDict, total=False):
    """A model's cost for one square photograph at its working size; None if unknown."""

    parameters: int | None
    multiply_adds: int | None
    memory_mb: int | None
    milliseconds: float


CostName = Literal["parameters", "multiply_adds", "milliseconds", "memory_mb"]


class ModelRecord(Cost):
    """A row of the table: the gray photograph, a model, another tool's colourings, or the original.

    Only models have costs and a record of what ran them.
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
    """A model's score by one metric, with its 95 % interval; None if there is none.

    ``infinite`` is the number of photographs left out because their value is infinite; ``sd_over_seeds`` is the
    standard deviation of the means over seeds.
    """

    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    infinite: NotRequired[int]
    sd_over_seeds: NotRequired[float]


class PairedRecord(TypedDict):
    """The mean of ``a`` minus ``b`` over the photographs that both have, its interval, and a verdict on ``a``."""

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
    """Where the photographs were, and how many were scored, failed, or were left when the run was stopped."""

    roots: list[str]
    images: int
    failed: int
    left: int


class Report(TypedDict):
    """An evaluation's results; ``protocol`` is ``evaluate.protocols.Protocol.record``."""

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
