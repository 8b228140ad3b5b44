"""Content Credentials (C2PA 2.2): a signed statement, inside the file, of what it was made from and how.

The archive signs with its own key and certificate. Signatures contain random bytes, so signing the same file twice
gives two different files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from colorcli.environment import needs
from colorcli.errors import PhotoError, UsageError
from colorcli.files import file_sha256
from colorcli.images.formats import format_of_content
from colorcli.images.provenance import DIGITAL_SOURCE_TYPE, Provenance
from colorcli.text import printable

# nothing is fetched; thumbnails would put further images into the file
_SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
_MOST_SAID = 300


@dataclass(frozen=True)
class Identity:
    """Who signs.

    Attributes:
        key: path of the private key, unencrypted PEM.
        certificate: path of the certificate chain, PEM, the signer's certificate first.
        timestamp: URL of an RFC 3161 time-stamping authority, contacted for every file; None for no time stamp.
    """

    key: str
    certificate: str
    timestamp: str | None = None


def check_identity(identity: Identity) -> str:
    """Check that an identity can sign, and return the hexadecimal SHA-256 of its certificate file.

    Raises:
        UsageError: the c2pa library is missing, or key and certificate cannot sign together.
    """
    _library()
    _signer_parts(identity)
    picture = io.BytesIO(_PIXEL)
    try:
        _sign(identity, _TRIAL, "image/png", picture, io.BytesIO())
    except _SigningError as error:
        raise UsageError(
            f"{identity.key} and {identity.certificate} cannot sign Content Credentials: {error}. They must be a key "
            "and its certificate chain for signing, valid today."
        ) from error
    return file_sha256(Path(identity.certificate))


def sign_file(identity: Identity, made: Path, target: Path, *, source: Path, provenance: Provenance) -> None:
    """Write a copy of ``made`` with Content Credentials to ``target``, replacing it.

    They say that ``source`` was opened and that its colours were made by a machine.

    Raises:
        PhotoError: the format cannot hold them, or signing failed.
        OSError: a file cannot be read or written.
    """
    with made.open("rb") as picture, source.open("rb") as original:
        mime, parent = _mime(picture), _mime(original)
        if mime is None:
            raise PhotoError("cannot be signed: its format holds no Content Credentials")
        dest = _Noting(target)
        try:
            statement = _statement(provenance)
            ingredient = {"title": printable(provenance.input_name), "relationship": "parentOf", "instance_id": _INPUT}
            if parent is None:  # the library cannot read this format, so the original is only named
                statement["ingredients"] = [
                    {**ingredient, "format": "application/octet-stream", "hash": provenance.input_sha256}
                ]
                _sign(identity, statement, mime, picture, dest)
            else:
                _sign(identity, statement, mime, picture, dest, (ingredient, parent, original))
        except _SigningError as error:
            if dest.fault is not None:
                raise dest.fault from error
            raise PhotoError(f"cannot be signed: {error}") from error
        finally:
            dest.close()


@dataclass(frozen=True)
class Credentials:
    """What a file's Content Credentials say.

    Attributes:
        state: ``Trusted`` (valid, by a signer who was given as trusted), ``Valid`` or ``Invalid``.
        signer: name and organisation in the certificate.
        failures: C2PA's codes for what is wrong.
        manifests: number of manifests: one for each time the file was signed.
        actions: actions of the last manifest, each with its digital source type, or an empty string if it has none.
        parents: titles of the files that this one was made from.
        generator: the program that wrote the last manifest.
    """

    state: str
    signer: str
    failures: tuple[str, ...]
    manifests: int
    actions: tuple[tuple[str, str], ...]
    parents: tuple[str, ...]
    generator: str


def read_credentials(path: Path, trusted: bytes | None = None) -> Credentials | None:
    """The Content Credentials of a file, or None if it has none. Nothing is fetched from the network.

    Args:
        path: the file.
        trusted: PEM certificates of signers who are trusted; None trusts nobody.

    Raises:
        UsageError: the c2pa library is missing.
        PhotoError: they are damaged beyond reading.
    """
    c2pa = _library()
    settings: dict[str, Any] = {"verify": {**_SETTINGS["verify"], "verify_trust": trusted is not None}}
    if trusted is not None:
        settings["trust"] = {"trust_anchors": trusted.decode("ascii", "replace")}
    with path.open("rb") as file:
        mime = _mime(file)
        if mime is None:
            return None
        try:
            with c2pa.Context.from_dict(settings) as context:
                reader = c2pa.Reader.try_create(mime, file, context=context)
                if reader is None:
                    return None
                with reader:
                    return _credentials(json.loads(reader.json()), str(reader.get_validation_state()))
        except (c2pa.C2paError, ValueError) as error:
            raise PhotoError(f"has Content Credentials that cannot be read: {_clause(error)}") from error


def is_available() -> bool:
    """Whether the library is installed."""
    with suppress(UsageError):
        _library()
        return True
    return False


def _credentials(said: Mapping[str, Any], state: str) -> Credentials:
    manifests = said.get("manifests") or {}
    active = manifests.get(said.get("active_manifest")) or {}
    signature = active.get("signature_info") or {}
    results = (said.get("validation_results") or {}).get("activeManifest") or {}
    actions = [
        action
        for assertion in active.get("assertions") or ()
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions") or ()
    ]
    generators = active.get("claim_generator_info") or [{}]
    names = (signature.get("common_name"), signature.get("issuer"))
    return Credentials(
        state,
        ", ".join(str(name) for name in names if name),
        tuple(str(failure.get("code")) for failure in results.get("failure") or ()),
        len(manifests),
        tuple((str(action.get("action")), str(action.get("digitalSourceType") or "")) for action in actions),
        tuple(
            str(ingredient.get("title") or "")
            for ingredient in active.get("ingredients") or ()
            if ingredient.get("relationship") == "parentOf"
        ),
        " ".join(str(generators[0][key]) for key in ("name", "version") if generators[0].get(key)),
    )


_INPUT = "input"


def _statement(provenance: Provenance) -> dict[str, Any]:
    name, _, version = provenance.software.partition(" ")
    details = {
        "colorcli.model": provenance.model,
        "colorcli.weights_sha256": provenance.weights_sha256,
        "colorcli.input_sha256": provenance.input_sha256,
        "colorcli.parameters": json.dumps(dict(provenance.parameters), sort_keys=True, default=str),
    }
    edited = {
        "action": "c2pa.edited",
        "description": "Colours were made by a trained network; lightness is the photograph's own.",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": {"name": provenance.model, "version": provenance.version},
        "parameters": details,
    }
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_INPUT]}}
    return {
        "claim_generator_info": [{"name": name, "version": version or "0"}],
        "title": printable(provenance.input_name),
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened, edited]}}],
    }


class _SigningError(Exception):
    pass


class _Noting(io.FileIO):
    """A new file that keeps the operating system's error: the library says only that writing failed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self.fault: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise


def _sign(
    identity: Identity,
    statement: Mapping[str, Any],
    mime: str,
    picture: Any,
    target: Any,
    parent: tuple[Mapping[str, Any], str, Any] | None = None,
) -> None:
    c2pa = _library()
    algorithm, certificate, key = _signer_parts(identity)
    address = None if identity.timestamp is None else identity.timestamp.encode()
    try:
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, certificate, key, address))
        with signer, c2pa.Context.from_dict(_SETTINGS) as context, c2pa.Builder(dict(statement), context) as builder:
            if parent is not None:
                builder.add_ingredient(*parent)
            builder.sign(signer, mime, picture, target)
    except c2pa.C2paError as error:
        raise _SigningError(_clause(error)) from error


@lru_cache(maxsize=4)
def _signer_parts(identity: Identity) -> tuple[bytes, bytes, bytes]:
    """Signing algorithm, certificates and key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    contents = []
    for path in (identity.certificate, identity.key):
        try:
            contents.append(Path(path).read_bytes())
        except OSError as error:
            raise UsageError(f"{printable(path)} cannot be read: {error.strerror or error}.") from error
    try:
        key = load_pem_private_key(contents[1], None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{printable(identity.key)} is not an unencrypted private key in PEM form.") from error
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = {256: b"es256", 384: b"es384", 521: b"es512"}.get(key.curve.key_size)
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm = b"ps256"
    else:
        algorithm = b"ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else None
    if algorithm is None:
        raise UsageError(f"{printable(identity.key)} is a kind of key that Content Credentials do not support.")
    return algorithm, contents[0], contents[1]


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise UsageError(f"Signing and reading Content Credentials {needs('c2pa-python', 'c2pa')}.") from error
    return c2pa


def _mime(file: io.BufferedReader) -> str | None:
    form = format_of_content(file.read(32))
    file.seek(0)
    return None if form is None else form.mime or None


def _clause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return printable(" ".join(lines)[:_MOST_SAID]).rstrip(".")


# a one-pixel PNG, signed to test an identity
_ALGORITHMIC = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
_CREATED = {"action": "c2pa.created", "digitalSourceType": _ALGORITHMIC}
_TRIAL = {"title": "trial", "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [_CREATED]}}]}
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002000148afa471"
    "0000000049454e44ae426082"
)
