"""What an image is made of, with no engine present."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import RuntimeFailure
from slipway.image.recipe import NAME, Recipe, build_args, write_context
from slipway.release import Bundle, digest

FILES = {"bundle.json": b"{}", "model.onnx": b"graph", "requirements.txt": b"numpy==2\n"}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe of three files."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    bundle = Bundle(digest("candidate"), "onnx", dict.fromkeys(FILES, digest("")), str(tmp_path))
    return Recipe("flights", bundle, "python:3.11-slim", "sha256:ba5e", "FROM x\n", "c0ffee")


CHANGES = {"model": "other", "base": "b", "base_id": "i", "dockerfile": "d", "commit": "c"}


@pytest.mark.parametrize("field", [*CHANGES, "bundle", "created"])
def test_everything_that_decides_the_image_is_in_the_digest(recipe: Recipe, field: str) -> None:
    """Each field by itself makes another recipe, and so another tag."""
    other = {**CHANGES, "bundle": replace(recipe.bundle, engine="skops"), "created": 1}[field]
    changed = replace(recipe, **{field: other})
    assert changed.digest != recipe.digest
    assert changed.reference != recipe.reference


def test_where_the_bundle_lies_does_not_count(recipe: Recipe) -> None:
    """The same bundle in another folder is the same recipe."""
    moved = replace(recipe, bundle=replace(recipe.bundle, path="elsewhere"))
    assert moved.digest == recipe.digest


def test_the_labels_tell_the_chain(recipe: Recipe) -> None:
    """Every digest that is known when an image is built is on a label, the standard ones too."""
    oci = "org.opencontainers.image."
    assert recipe.labels() == {
        f"{oci}title": "flights",
        f"{oci}version": recipe.bundle.digest.removeprefix("sha256:")[:12],
        f"{oci}revision": "c0ffee",
        f"{oci}base.name": "python:3.11-slim",
        "slipway.model": "flights",
        "slipway.candidate": digest("candidate"),
        "slipway.bundle": recipe.bundle.digest,
        "slipway.engine": "onnx",
        "slipway.base": "sha256:ba5e",
        "slipway.recipe": recipe.digest,
    }


@given(st.text("aZ9._- /:", min_size=1, max_size=8))
def test_a_name_is_an_images_or_refused(model: str) -> None:
    """A reference has the name as it is, or there is an error that says what is allowed."""
    recipe = Recipe(model, Bundle("c", "onnx", {}), "b", "i", "d")
    if NAME.fullmatch(model):
        assert recipe.reference.startswith(f"slipway/{model}:")
    else:
        with pytest.raises(RuntimeFailure, match="cannot name an image"):
            _ = recipe.reference


@pytest.mark.parametrize("name", ["Flights", "a--b.", "a..b", "a___b", "-a", ""])
def test_names_that_the_engine_refuses(name: str) -> None:
    """Capitals, and separators at an end or too many, are no image's name."""
    assert not NAME.fullmatch(name)


def test_the_context_is_the_bundle_and_the_environment(recipe: Recipe, tmp_path: Path) -> None:
    """Packages and model lie apart, so that a new model keeps the packages' layer."""
    certificate = tmp_path / "ca.crt"
    certificate.write_text("trust")
    content = _context(recipe, certificate)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = {i.name: (tar.extractfile(i).read(), i.mode, i.mtime, i.uid) for i in tar}
    plain = {f"bundle/{name}": text for name, text in FILES.items()}
    plain |= {"environment/requirements.txt": FILES["requirements.txt"]}
    plain |= {"environment/certificates.crt": b"trust", "Dockerfile": b"FROM x\n"}
    assert members == {name: (text, 0o644, 0, 0) for name, text in plain.items()}


def test_the_context_is_the_same_bytes_again(recipe: Recipe, tmp_path: Path) -> None:
    """Neither a file's date nor its mode gets into the context."""
    before = _context(recipe, None)
    (tmp_path / "model.onnx").chmod(0o755)
    (tmp_path / "bundle.json").touch()
    assert _context(recipe, None) == before


def test_a_build_is_told_the_way_to_the_index(tmp_path: Path) -> None:
    """Proxies, pip's index and certificates go in; folders of this machine and the rest do not."""
    (tmp_path / "ca.crt").write_text("trust")
    told = build_args(
        {
            "https_proxy": "http://127.0.0.1:3128",
            "PIP_INDEX_URL": "https://index.example/simple",
            "PIP_EXTRA_INDEX_URL": "file:///somewhere",
            "SSL_CERT_FILE": str(tmp_path / "ca.crt"),
            "HOME": "/home/me",
        }
    )
    assert told == {
        "https_proxy": "http://127.0.0.1:3128",
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_CERT": "/build/certificates.crt",
    }


def test_certificates_that_are_not_there_are_not_promised(tmp_path: Path) -> None:
    """A variable that names no file gives no argument, since pip would fail on it."""
    assert build_args({"PIP_CERT": str(tmp_path / "none")}) == {}


def _context(recipe: Recipe, certificate: Path | None) -> bytes:
    stream = io.BytesIO()
    write_context(stream, recipe, certificate)
    return stream.getvalue()
