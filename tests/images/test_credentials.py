"""Content Credentials, signed with a certificate made here, are accepted by the standard's own library."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from colorcli.cli import main
from colorcli.images.credentials import read_credentials
from colorcli.pipeline import opening
from colorcli.registry import registry

from ..colorize.conftest import contents, write_gray
from ..fakes import CARD, FakeSession

pytest.importorskip("c2pa")


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An archive's certificate authority, and a key with its certificate: ``key``, ``chain`` and ``root``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(name: str, public: Any, *extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
        names = [
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Town Archive"),
                    x509.NameAttribute(NameOID.COMMON_NAME, common),
                ]
            )
            for common in (name, "authority")
        ]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + 30 * day)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority_key, hashes.SHA256())

    def usage(*, signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(signs, False, False, False, False, not signs, not signs, False, False)

    root = certificate(
        "authority",
        authority_key.public_key(),
        (x509.BasicConstraints(True, None), True),
        (usage(signs=False), True),
        (x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), False),
    )
    leaf = certificate(
        "scanning desk",
        key.public_key(),
        (x509.BasicConstraints(False, None), True),
        (usage(signs=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
    )
    pem, folder = serialization.Encoding.PEM, tmp_path_factory.mktemp("identity")
    paths = {name: folder / f"{name}.pem" for name in ("key", "chain", "root")}
    plain = serialization.NoEncryption()
    paths["key"].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    paths["chain"].write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    paths["root"].write_bytes(root.public_bytes(pem))
    return paths


def signing(identity: dict[str, Path]) -> list[str]:
    return ["--c2pa-key", str(identity["key"]), "--c2pa-certificate", str(identity["chain"])]


@pytest.mark.parametrize("name", ["a.tif", "b.jpg", "c.png", "d.webp"])
def test_outputs_carry_valid_credentials(tmp_path: Path, identity: dict[str, Path], name: str) -> None:
    """Anyone who finds the image can check who coloured it, from what, and that it has not been changed since."""
    write_gray(tmp_path / "in" / name)
    originals = contents(tmp_path / "in")
    assert main(["colorize", "in", "-o", "out", "-q", "--manifest", "--verify", *signing(identity)]) == 0
    found = read_credentials(tmp_path / "out" / name, identity["root"].read_bytes())
    assert found is not None
    assert (found.state, found.failures, found.parents) == ("Trusted", (), (name,))
    assert found.signer == "scanning desk, Town Archive"
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert found.actions == (("c2pa.opened", ""), ("c2pa.edited", source))
    assert contents(tmp_path / "in") == originals
    assert main(["verify", "out", "-q"]) == 0
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_format_that_holds_no_credentials_is_said_before_the_run(
    tmp_path: Path, identity: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A night's run whose masters all fail in the last step, after the colouring."""
    write_gray(tmp_path / "in" / "a.png")
    Image.open(tmp_path / "in" / "a.png").save(tmp_path / "in" / "b.jp2")
    for target in (["--format", "jp2", "-o", "out"], ["-o", "out/c.jp2"]):
        source = "in" if "--format" in target else "in/a.png"
        assert main(["colorize", source, "-q", *target, *signing(identity)]) == 2
        assert "JPEG 2000 holds no Content Credentials" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert main(["colorize", "in", "-o", "out", "--dry-run", "--json", *signing(identity)]) == 0
    refused = [r for r in map(json.loads, capsys.readouterr().out.splitlines()) if r.get("code") == "unsignable"]
    assert [r["input"] for r in refused] == ["b.jp2"] and "--format tiff" in refused[0]["reason"]
    assert main(["colorize", "in", "-o", "out", "-q", "--format", "tiff", *signing(identity)]) == 0


def test_a_changed_file_is_found_out(tmp_path: Path, identity: dict[str, Path]) -> None:
    write_gray(tmp_path / "in" / "a.png")
    assert main(["colorize", "in", "-o", "out", "-q", *signing(identity)]) == 0
    path = tmp_path / "out" / "a.png"
    content = path.read_bytes()
    at = content.index(b"IDAT") + 20
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    found = read_credentials(path)
    assert found is not None
    assert found.state == "Invalid"
    assert "assertion.dataHash.mismatch" in found.failures


def test_a_signed_original_is_an_ingredient(tmp_path: Path, identity: dict[str, Path]) -> None:
    """The scanner's statement stays in the chain, followed by ours."""
    write_gray(tmp_path / "in" / "a.jpg")
    assert main(["colorize", "in", "-o", "first", "-q", *signing(identity)]) == 0
    (tmp_path / "signed").mkdir()  # an output folder is no place for originals
    shutil.copy(tmp_path / "first" / "a.jpg", tmp_path / "signed")
    assert main(["colorize", "signed", "-o", "second", "-q", "--recolor", *signing(identity)]) == 0
    found = read_credentials(tmp_path / "second" / "a.jpg", identity["root"].read_bytes())
    assert found is not None
    assert (found.state, found.manifests) == ("Trusted", 2)


def test_unsigned_outputs_have_none_and_signing_them_needs_overwrite(tmp_path: Path, identity: dict[str, Path]) -> None:
    """Without this, an archive that is only half signed would be noticed too late."""
    write_gray(tmp_path / "in" / "a.png")
    assert main(["colorize", "in", "-o", "out", "-q"]) == 0
    assert read_credentials(tmp_path / "out" / "a.png") is None
    assert main(["colorize", "in", "-o", "out", "-q", *signing(identity)]) == 3
    assert main(["colorize", "in", "-o", "out", "-q", "--overwrite", *signing(identity)]) == 0
    assert read_credentials(tmp_path / "out" / "a.png") is not None
    assert main(["colorize", "in", "-o", "out", "-q", *signing(identity)]) == 0, "a second run has nothing to do"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--c2pa-key", "key"], "need both"),
        (["--c2pa-key", "nowhere", "--c2pa-certificate", "chain"], "cannot be read"),
        (["--c2pa-key", "chain", "--c2pa-certificate", "chain"], "not an unencrypted private key"),
        (["--c2pa-key", "other", "--c2pa-certificate", "chain"], "cannot sign"),
        (["--c2pa-key", "key", "--c2pa-certificate", "key"], "cannot sign"),
    ],
)
def test_an_identity_that_cannot_sign_is_refused_before_the_first_photograph(
    tmp_path: Path, identity: dict[str, Path], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    write_gray(tmp_path / "in" / "a.png")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "other").write_bytes(key.private_bytes(*pem))
    (tmp_path / "key").write_bytes(identity["key"].read_bytes())
    (tmp_path / "chain").write_bytes(identity["chain"].read_bytes())
    assert main(["colorize", "in", "-o", "out", "-q", *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
