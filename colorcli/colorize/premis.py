"""The sidecar of an output: the objects, events and agents of its making in the terms of PREMIS 3.0, as JSON.

It is made only from the journal's records, so that it is the same whenever it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from colorcli.colorize.journal import files_of, read_journal
from colorcli.images.provenance import DIGITAL_SOURCE_TYPE

VERSION = 1
Record = Mapping[str, object]
_KEPT = ("colorcli", "model_version", "device", "backend", "precision", "platform")


def runs_of(root: Path) -> dict[str, Record]:
    """Software, model and device of each run of an output folder, by the time at which the run began."""
    return {str(r.get("time")): {key: r.get(key) for key in _KEPT} for r in read_journal(root) if _is_start(r)}


def sidecar(record: Record, runs: Mapping[str, Record]) -> bytes:
    """The sidecar of a finished output.

    Args:
        record: its ``photo.done`` record.
        runs: the runs of its folder, from ``runs_of``.
    """
    # the run that made it is the last one that began before
    began = max((time for time in runs if time <= str(record["time"])), default="")
    run = runs.get(began, {})
    source, output = str(record["input"]), str(record["output"])
    version = run.get("colorcli")
    agents = [
        {"agentIdentifier": "colorcli", "agentType": "software", "agentVersion": version,
         "agentNote": {key: run.get(key) for key in ("platform", "device", "backend", "precision")}},
        {"agentIdentifier": str(record["model"]), "agentType": "software", "agentVersion": run.get("model_version"),
         "agentNote": {"weights_sha256": record["weights_sha256"]}},
    ]  # fmt: skip
    measured = (
        "max_delta_l", "mean_delta_l", "written_max_delta_l", "written_mean_delta_l", "written_share", "fitted_share",
        "mean_chroma",
    )  # fmt: skip
    detail = {
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "parameters": record.get("parameters"),
        "controls": record.get("controls"),
        "kind": record.get("kind"),
        "measured": {key: record[key] for key in measured if key in record},
    }
    if "mark" in record:
        detail["mark"] = record["mark"]
    time = record["time"]
    events = [
        _event("message digest calculation", time, "SHA-256 of the original, before it was decoded", [source]),
        _event(
            "creation", time, "Colours made by a trained network; lightness is the original's", [source], [output],
            agents=["colorcli", str(record["model"])], detail=detail, notes=record.get("notes"),
        ),
        _event("message digest calculation", time, "SHA-256 of the output, as it was written", [], [output]),
    ]  # fmt: skip
    parameters = record.get("parameters")
    signed = parameters.get("credentials") if isinstance(parameters, Mapping) else None
    if signed:
        note = f"Content Credentials, by the certificate with SHA-256 {signed}"
        events.insert(2, _event("digital signature generation", time, note, [], [output]))
    objects = [
        _object(source, record.get("input_size"), record.get("input_sha256"), location=record.get("source")),
        _object(
            output, record.get("output_size"), record.get("output_sha256"), format=record.get("format"),
            bits=record.get("bits"), width=record.get("width"), height=record.get("height"), derived=source,
        ),
    ]  # fmt: skip
    _, *along = files_of(record)
    objects += [_object(str(name), size, sha256, derived=source) for name, size, sha256 in along]
    said = {"colorcli_sidecar": VERSION, "premis": "3.0", "objects": objects, "events": events, "agents": agents}
    # ASCII, so that names that are not UTF-8 can be restored
    return (json.dumps(said, indent=1, ensure_ascii=True) + "\n").encode()


def _is_start(record: Record) -> bool:
    return record["event"] == "run.start"


def _object(name: str, size: object, sha256: object, *, derived: str = "", **more: object) -> dict[str, object]:
    found: dict[str, object] = {
        "objectCategory": "file",
        "objectIdentifier": name,
        "size": size,
        "fixity": {"messageDigestAlgorithm": "SHA-256", "messageDigest": sha256},
        **more,
    }
    if derived:
        found["relationship"] = {
            "relationshipType": "derivation", "relationshipSubType": "has source", "relatedObjectIdentifier": derived
        }  # fmt: skip
    return found


def _event(
    kind: str,
    time: object,
    note: str,
    sources: list[str],
    outcomes: list[str] | None = None,
    *,
    agents: list[str] | None = None,
    detail: object = None,
    notes: object = None,
) -> dict[str, object]:
    event: dict[str, object] = {
        "eventType": kind,
        "eventDateTime": time,
        "eventDetail": note,
        "eventOutcome": "success",
        "linkingAgents": agents or ["colorcli"],
        "linkingObjects": [{"identifier": name, "role": "source"} for name in sources]
        + [{"identifier": name, "role": "outcome"} for name in outcomes or ()],
    }
    if detail is not None:
        event["eventOutcomeDetail"] = detail
    if notes:
        event["eventOutcomeDetailNote"] = notes
    return event
