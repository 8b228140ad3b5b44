"""``colorcli inspect``: what image files claim about how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colorcli.cli import output
from colorcli.errors import ExitCode, PhotoError, UsageError

if TYPE_CHECKING:
    from colorcli.images.claims import Claims

_MOST_EVENTS = 6


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Images, of any program.")],
    trust: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificates whose Content Credentials are trusted.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False,
) -> None:
    """Show what images claim about how they were made: labels, XMP, EXIF, Content Credentials, the journal beside them.

    A claim is only what a file says; a valid signature shows who made it, and that nothing was changed since.
    """
    from colorcli.images.claims import read_claims
    from colorcli.text import printable

    try:
        trusted = None if trust is None else trust.read_bytes()
    except OSError as error:
        raise UsageError(f"{trust} cannot be read: {error.strerror or error}.") from error
    failed = 0
    for path in files:
        try:
            claims = read_claims(path, trusted)
        except PhotoError as error:
            failed += 1
            if json:
                output.emit("inspect.failed", path=str(path), reason=str(error))
            else:
                output.note(f"failed {printable(str(error))}")
            continue
        journal = _journalled(claims)
        if json:
            output.emit("inspect", **_record(claims, journal))
        else:
            output.line(f"{printable(str(path))}: {printable(claims.format)}, SHA-256 {claims.sha256}")
            for sentence in _sentences(claims, journal):
                output.line(f"  {printable(sentence)}")
    if failed:
        raise typer.Exit(int(ExitCode.ALL_FAILED if failed == len(files) else ExitCode.SOME_FAILED))


def _journalled(claims: Claims) -> dict[str, Any] | None:
    """The record of the file in the journal of its folder; None without one."""
    from colorcli.colorize.audit import record_of

    record = record_of(claims.path)
    if record is None:
        return None
    kept = ("input", "input_sha256", "model", "weights_sha256", "parameters", "time", "max_delta_l", "mark", "notes")
    said = {key: record[key] for key in kept if key in record}
    return {**said, "unchanged": record.get("output_sha256") == claims.sha256}


def _record(claims: Claims, journal: dict[str, Any] | None) -> dict[str, Any]:
    from dataclasses import asdict

    from colorcli.images.claims import generator_texts, in_words

    said = {
        key: value for key, value in asdict(claims).items() if key not in ("path", "credentials", "credentials_note")
    }
    signed = claims.credentials
    return {
        "path": str(claims.path),
        **said,
        "digital_source_types": {source: in_words(source) for source in claims.source_types},
        "coloured_by_colorcli": claims.is_ours,
        "generator_texts": generator_texts(claims),
        "content_credentials": None if signed is None else asdict(signed),
        "content_credentials_note": claims.credentials_note or None,
        "journal": journal,
    }


def _sentences(claims: Claims, journal: dict[str, Any] | None) -> Iterator[str]:
    from colorcli.images.claims import generator_texts, in_words

    for source in claims.source_types:
        yield f"Says that it is {in_words(source)} (IPTC {source})."
    for said in claims.statements:
        if said.ai_system:
            version = f", version {said.ai_version}" if said.ai_version else ""
            yield f"Names the AI system {said.ai_system}{version}."
        if said.creator_tool:
            yield f"Names the program {said.creator_tool}."
        if said.derived_from:
            yield f"Says that it was made from {said.derived_from}."
        for action, agent, details in said.history[-_MOST_EVENTS:]:
            yield f"History: {action or 'an action'} by {agent or 'an unnamed program'}" + (
                f", {details}." if details else "."
            )
    for name, text in (*claims.exif.items(), *claims.texts.items()):
        yield f"{name}: {text}"
    if generator_texts(claims):
        yield f"Contains text of the kind that image generators write ({', '.join(generator_texts(claims))})."
    yield _credentials_sentence(claims)
    if journal is not None:
        state = "the file is unchanged since" if journal["unchanged"] else "the file was changed since"
        yield f"Its folder's journal says that {journal.get('model')} made it from {journal.get('input')}; {state}."
        if "mark" in journal:
            yield "It has a visible mark in its lower right corner."
    if claims.is_ours:
        yield "Its label is that of a photograph coloured by colorcli."
    if not (claims.source_types or claims.statements or claims.credentials or journal or generator_texts(claims)):
        yield "It claims nothing about how it was made, which proves nothing."


def _credentials_sentence(claims: Claims) -> str:
    found = claims.credentials
    if found is None:
        return f"Content Credentials: {claims.credentials_note or 'none'}."
    state = {
        "Trusted": "valid, and signed by someone you trust",
        "Valid": "valid; whether to trust the signer is up to you (--trust)",
    }.get(found.state, f"INVALID ({', '.join(found.failures) or found.state})")
    actions = ", ".join(action.removeprefix("c2pa.") for action, _ in found.actions)
    made = f"; made from {', '.join(found.parents)}" if found.parents else ""
    return f"Content Credentials: {state}. Signed by {found.signer or 'an unnamed signer'}: {actions}{made}."
