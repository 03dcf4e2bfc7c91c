"""What an image is made of, with no engine present."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.container import is_remote
from slipway.errors import RuntimeFailure
from slipway.image.recipe import (
    NAME,
    Recipe,
    build_args,
    bundle_is_last,
    dockerfile,
    write_context,
    write_layer,
)
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
CHAIN = {"snapshot": "sha256:5", "report": "sha256:7"}


@pytest.mark.parametrize("field", [*CHANGES, "bundle", "created", "chain"])
def test_everything_that_decides_the_image_is_in_the_digest(recipe: Recipe, field: str) -> None:
    """Each field by itself makes another recipe, and so another tag."""
    bundle = replace(recipe.bundle, engine="skops")
    other = {**CHANGES, "bundle": bundle, "created": 1, "chain": CHAIN}[field]
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
    recipe = replace(recipe, chain=CHAIN)
    assert recipe.labels() == {
        "slipway.snapshot": "sha256:5",
        "slipway.report": "sha256:7",
        f"{oci}title": "flights",
        f"{oci}version": recipe.bundle.digest.removeprefix("sha256:")[:12],
        f"{oci}revision": "c0ffee",
        f"{oci}base.name": "python:3.11-slim",
        "slipway.model": "flights",
        "slipway.candidate": digest("candidate"),
        "slipway.bundle": recipe.bundle.digest,
        "slipway.engine": "onnx",
        "slipway.base": "sha256:ba5e",
        "slipway.foundation": recipe.foundation,
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


@pytest.mark.parametrize("field", ["base_id", "created", "dockerfile"])
def test_the_foundation_is_all_but_the_bundle(recipe: Recipe, field: str) -> None:
    """Another model or commit stands on the same one; another base, date or text does not."""
    other = replace(recipe, **{field: 7 if field == "created" else "other"})
    assert other.foundation != recipe.foundation
    files = {**recipe.bundle.files, "model.onnx": digest("another")}
    moved = replace(
        recipe, model="m", commit="", chain=CHAIN, bundle=replace(recipe.bundle, files=files)
    )
    assert moved.foundation == recipe.foundation
    files["requirements.txt"] = digest("another")
    assert (
        replace(recipe, bundle=replace(recipe.bundle, files=files)).foundation != recipe.foundation
    )


COPY = "COPY bundle/ /bundle/\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (dockerfile("base"), True),
        (f"FROM base\n{COPY}", True),
        (f"FROM base\nRUN apt-get install \\\n # why\n  nginx\n{COPY}USER 7\n", True),
        (f"FROM base\n{COPY}RUN chmod -R a-w /bundle\n", False),
        (f"FROM base\n{COPY}WORKDIR /new\n", False),
        (f"FROM base\n{COPY}FROM other\n", False),
        (f"FROM base\nCOPY . /all\n{COPY}", False),
        (f"FROM base\nCOPY bundle/model.onnx /other\n{COPY}", False),
        (f"FROM base\nRUN --mount=type=bind,target=/x cp -r /x /y\n{COPY}", False),
        (f"FROM base\nCOPY environment/ bundle/ /build/\n{COPY}", False),
        (f"FROM base\nCOPY environment/../bundle/ /x/\n{COPY}", False),
        (f"FROM base\nRUN mkdir -m 700 /bundle\n{COPY}", False),
        (f"FROM base\nONBUILD COPY . /\n{COPY}", False),
        ("FROM base\nCOPY --chown=7 bundle/ /bundle/\n", False),
        ("FROM base\n", False),
    ],
)
def test_whether_the_bundle_comes_last(text: str, told: bool) -> None:
    """Only where no step after its copy makes files, and none before could have seen it."""
    assert bundle_is_last(text) is told


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("registry.example/flights@sha256:0", True),
        ("localhost:5000/flights:1", True),
        ("localhost/team/flights:1", True),
        ("[::1]:5000/flights", True),
        ("slipway/flights:1.0", False),
        ("flights:1.0", False),
        ("localhost", False),
    ],
)
def test_whether_a_reference_names_a_registry(reference: str, told: bool) -> None:
    """As Docker decides it: by a dot, a colon or ``localhost`` in what comes before a slash."""
    assert is_remote(reference) is told


def test_the_bundles_layer_is_as_a_builder_makes_it(recipe: Recipe, tmp_path: Path) -> None:
    """Folders before what they hold, in the builder's order; owned by root, readable by all."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_bytes(b"main")
    files = {**recipe.bundle.files, "app/main.py": digest("")}
    stream = io.BytesIO()
    write_layer(stream, replace(recipe, bundle=replace(recipe.bundle, files=files)))
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        found = [(i.name, i.mode, i.isdir(), i.uid, i.mtime) for i in tar]
    assert found == [
        ("bundle", 0o755, True, 0, 0),
        ("bundle/app", 0o755, True, 0, 0),
        ("bundle/app/main.py", 0o644, False, 0, 0),
        *((f"bundle/{name}", 0o644, False, 0, 0) for name in FILES),
    ]
