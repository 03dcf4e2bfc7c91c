"""A release's papers: signed, held against what is there, and nothing tampered passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from slipway import bundle as bundles
from slipway import papers, signing
from slipway.cli import cli
from slipway.errors import Refused, SlipwayError, UsageError
from slipway.release import Bundle, Column, Release
from slipway.testing import release


@pytest.fixture
def made(tmp_path: Path) -> Release:
    """A release of a bundle that lies on the disk; it has no image."""
    (tmp_path / "model").write_bytes(b"a model")
    told = {"model": "flights", "output": "value", "signature": (Column("a", "number"),)}
    place = tmp_path / "bundle"
    files = bundles.write(place, engine="onnx", model_file=tmp_path / "model", **told)
    whole = release()
    bundle = Bundle(whole.candidate, "onnx", files, str(place))
    locators = {**whole.locators, "bundle": str(place), "image": ""}
    return replace(whole, bundle=bundle.digest, image="", locators=locators)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """The environment of one who signs."""
    signing.new_key(tmp_path / "ours")
    return {signing.SIGNING_KEY: str(tmp_path / "ours")}


def _outcomes(folder: Path, made: Release, environ: dict[str, str]) -> dict[str, str]:
    return {c.what: c.outcome for c in papers.verify(folder, made, environ)}


ALL_PASS = dict.fromkeys(("manifest", "signature", "sbom", "bundle", "image"), "pass")


def test_a_signed_release_is_verified_with_the_public_key_alone(
    made: Release, keys: dict[str, str], tmp_path: Path
) -> None:
    """Who verifies needs no secret, and everything passes while nothing is changed."""
    papers.write(tmp_path / "r", made, keys)
    public = {signing.VERIFY_KEY: keys[signing.SIGNING_KEY] + ".pub"}
    assert _outcomes(tmp_path / "r", made, public) == ALL_PASS


def test_the_same_release_has_the_same_papers(made: Release, keys: dict[str, str], tmp_path: Path):
    """Byte for byte, signature included: ed25519 draws nothing."""
    folders = [papers.write(tmp_path / name, made, keys) for name in ("one", "two")]
    names = sorted(p.name for p in folders[0].iterdir())
    assert names == ["manifest.json", "sbom.json", "signature.json"]
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_unsigned_is_said_and_is_never_verified(made: Release, tmp_path: Path) -> None:
    """Without a key there is no signature, and without a signature no pass."""
    papers.write(tmp_path / "r", made, {})
    (told,) = [c for c in papers.verify(tmp_path / "r", made, {}) if c.what == "signature"]
    assert (told.outcome, told.reason) == ("not_measured", "the release is unsigned")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("r/{}/manifest.json", "manifest"),
        ("r/{}/sbom.json", "sbom"),
        ("r/{}/signature.json", "signature"),
        ("bundle/model.onnx", "bundle"),
        ("bundle/requirements.txt", "bundle"),
        ("bundle/serve.py", "bundle"),
    ],
)
def test_what_was_tampered_with_is_named(
    made: Release, keys: dict[str, str], tmp_path: Path, file: str, what: str
) -> None:
    """One changed byte fails the check that it belongs to, and no other."""
    folder = papers.write(tmp_path / "r", made, keys)
    path = tmp_path / file.format(folder.name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = _outcomes(tmp_path / "r", made, keys)
    assert found.pop(what) == "fail"
    assert set(found.values()) == {"pass"}


def test_releasing_again_mends_papers_and_signs_with_the_key_of_today(
    made: Release, keys: dict[str, str], tmp_path: Path
) -> None:
    """What 'release again' is advised for: changed papers, and a key that was exchanged."""
    folder = papers.write(tmp_path, made, keys)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / papers.SBOM).write_text("{}")
    (folder / papers.SIGNATURE).write_text("{}")
    papers.write(tmp_path, made, keys)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_another_s_key_is_not_believed(made: Release, keys: dict[str, str], tmp_path: Path) -> None:
    """A signature by a key that is not ours fails, though it is sound in itself."""
    signing.new_key(tmp_path / "theirs")
    papers.write(tmp_path / "r", made, {signing.SIGNING_KEY: str(tmp_path / "theirs")})
    assert _outcomes(tmp_path / "r", made, keys)["signature"] == "fail"


def test_a_signature_of_another_release_is_refused(
    made: Release, keys: dict[str, str], tmp_path: Path
) -> None:
    """A sound signature may not be carried over to another manifest."""
    other = replace(made, commit="another")
    theirs, ours = (papers.write(tmp_path / "r", each, keys) for each in (other, made))
    (ours / "signature.json").write_bytes((theirs / "signature.json").read_bytes())
    assert _outcomes(tmp_path / "r", made, keys)["signature"] == "fail"


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_key_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None) -> None:
    """Named and missing, or no key: the run stops and says which variable names it."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refused, match="SLIPWAY_SIGNING_KEY") as refused:
        signing.signing_key({signing.SIGNING_KEY: str(path)})
    assert refused.value.where == str(path)


def test_a_key_is_private_and_never_written_over(tmp_path: Path) -> None:
    """Only its owner may read it, and a second one needs another name."""
    signing.new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="a key is there already"):
        signing.new_key(tmp_path / "key")


def test_half_a_pair_of_keys_is_not_left(tmp_path: Path) -> None:
    """Where the public one cannot be written, the private one goes too: the name stays free."""
    (tmp_path / "key.pub").symlink_to(tmp_path / "gone" / "key.pub")
    with pytest.raises(Refused, match="the key cannot be written"):
        signing.new_key(tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_the_bill_of_materials_is_valid_cyclonedx(made: Release, tmp_path: Path) -> None:
    """It meets the published schema, and names every package that the bundle pins."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (papers.write(tmp_path / "r", made, {}) / "sbom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    named = {f"{c['name']}=={c['version']}" for c in json.loads(text)["components"]}
    assert named == set((tmp_path / "bundle" / "requirements.txt").read_text().split())


def test_a_release_that_nobody_knows_is_told(monkeypatch, tmp_path: Path) -> None:
    """``slipway verify`` takes a model or a release, and says what there is."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    with pytest.raises(SlipwayError, match="nothing has been released from here yet"):
        CliRunner().invoke(cli, ["verify", "abc"], catch_exceptions=False)
