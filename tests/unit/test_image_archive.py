"""Settling an image archive: the same content is the same image."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from slipway.image.archive import exchange, is_settled, settle

BASE = {"bin/python3": b"python"}
MODEL = {"bundle/model.onnx": b"graph"}


def test_the_clock_leaves_no_trace(tmp_path: Path) -> None:
    """Two builds of the same files, at other times by other containers, are one image."""
    first = settled(saved(tmp_path / "1.tar", [BASE, MODEL], clock=1_700_000_000), BASE)
    second = settled(saved(tmp_path / "2.tar", [BASE, MODEL], clock=1_800_000_000), BASE)
    assert first.read_bytes() == second.read_bytes()


def test_other_content_is_another_image(tmp_path: Path) -> None:
    """One changed byte in a layer changes the id."""
    other = {"bundle/model.onnx": b"graft"}
    first = settled(saved(tmp_path / "1.tar", [BASE, MODEL]), BASE)
    second = settled(saved(tmp_path / "2.tar", [BASE, other]), BASE)
    assert config(first) != config(second)


def test_the_bases_layers_stay_as_they_are(tmp_path: Path) -> None:
    """The base's layer keeps its dates and digest, so that the engine shares it."""
    archive = settled(saved(tmp_path / "1.tar", [BASE, MODEL]), BASE)
    assert config(archive)["rootfs"]["diff_ids"][0] == sha(layer(BASE, 7))
    assert dates(archive, 0) == {7}
    assert dates(archive, 1) == {0}


def test_a_base_handed_out_compressed_keeps_its_name(tmp_path: Path) -> None:
    """A layer's digest is of its bytes before compression, which some engines hand it out in."""
    source = saved(tmp_path / "1.tar", [gzip.compress(layer(BASE, 7), mtime=0), MODEL])
    archive = settled(source, BASE)
    assert config(archive)["rootfs"]["diff_ids"][0] == sha(layer(BASE, 7))
    assert dates(archive, 0) == {7}


def test_it_holds_what_the_configuration_says(tmp_path: Path) -> None:
    """Each layer's digest is its own, and the manifest names the file that the id names."""
    archive = settled(saved(tmp_path / "1.tar", [BASE, MODEL, MODEL]), BASE)
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))[0]
        layers = [sha(tar.extractfile(name).read()) for name in manifest["Layers"]]
        text = tar.extractfile(manifest["Config"]).read()
    assert layers == json.loads(text)["rootfs"]["diff_ids"]
    assert manifest["Config"] == sha(text).removeprefix("sha256:") + ".json"
    assert manifest["RepoTags"] == ["slipway/flights:1"]


def test_what_the_container_runs_is_kept(tmp_path: Path) -> None:
    """User, command and the Dockerfile's labels stay, ours are added, the builder's notes go."""
    told = config(settled(saved(tmp_path / "1.tar", [BASE, MODEL]), BASE))
    assert told["config"] == {
        "User": "65532:65532",
        "Entrypoint": ["python3"],
        "Labels": {"mine": "kept", "slipway.model": "flights"},
    }
    assert told["created"] == "1970-01-01T00:00:00Z"
    notes = [step["created_by"] for step in told["history"]]
    assert notes == ["FROM the base", "/bin/sh -c #(nop) COPY dir in /bundle"]
    assert {step["created"] for step in told["history"]} == {"1970-01-01T00:00:00Z"}
    assert {"container", "container_config", "docker_version"}.isdisjoint(told)


def test_a_bundle_exchanged_is_the_image_built_anew(tmp_path: Path) -> None:
    """On another's layers: the same configuration as from nothing, and only one layer to load."""
    other = {"bundle/model.onnx": b"graft"}
    whole = settled(saved(tmp_path / "1.tar", [BASE, MODEL]), BASE, who="flights")
    built = settled(saved(tmp_path / "2.tar", [BASE, other]), BASE, who="trains")
    donor, notes = inspected(whole)
    target = tmp_path / "exchanged"
    exchange(
        io.BytesIO(top_layer(built)),
        target,
        donor=donor,
        notes=notes,
        reference="slipway/trains:1",
        labels={"slipway.model": "trains"},
        created=0,
    )
    assert config(target) == config(built)
    with tarfile.open(target) as tar:
        assert len(tar.getnames()) == 3  # the layer, the configuration, the manifest


def test_what_was_made_from_a_settled_image_is_none(tmp_path: Path) -> None:
    """It has our labels, so only its id tells: another layer, note or setting is another image."""
    donor, notes = inspected(settled(saved(tmp_path / "1.tar", [BASE, MODEL]), BASE))
    assert is_settled(donor, notes, 0)
    assert not is_settled(donor, [*notes, "a commit"], 0)
    assert not is_settled(donor | {"Config": donor["Config"] | {"User": "0"}}, notes, 0)
    layers = [*donor["RootFS"]["Layers"], "sha256:1"]
    assert not is_settled(donor | {"RootFS": {"Layers": layers}}, notes, 0)


def test_links_and_special_entries_come_through(tmp_path: Path) -> None:
    """A layer's symbolic links, hard links and folders are what they were."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        kinds = {"d": tarfile.DIRTYPE, "s": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mtime = kind, "bin/python3", 99
            tar.addfile(info)
    archive = settled(saved(tmp_path / "1.tar", [BASE, stream.getvalue()]), BASE)
    with tarfile.open(archive) as tar:
        name = json.load(tar.extractfile("manifest.json"))[0]["Layers"][1]
        with tarfile.open(fileobj=tar.extractfile(name)) as inner:
            found = {i.name: (i.type, i.mtime) for i in inner}
    assert found == {name: (kind, 0) for name, kind in kinds.items()}


def test_what_is_no_image_archive_is_refused(tmp_path: Path) -> None:
    """An archive without a manifest is an error, not an empty image."""
    with tarfile.open(tmp_path / "odd.tar", "w"):
        pass
    with pytest.raises(KeyError, match="manifest"):
        settled(tmp_path / "odd.tar", BASE)


def layer(files: Any, clock: int) -> bytes:
    """A layer as a builder makes it: dated by its clock."""
    if isinstance(files, bytes):
        return files
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), clock, "builder"
            info.pax_headers = {"atime": str(clock)} if clock > 7 else {}
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def plain(layer: bytes) -> bytes:
    """A layer's bytes before compression."""
    return gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer


def saved(path: Path, contents: list[Any], clock: int = 99) -> Path:
    """An archive as ``docker save`` writes it; the first layer is the base's, made at 7."""
    layers = [layer(files, clock if n else 7) for n, files in enumerate(contents)]
    note = f"/bin/sh -c #(nop) COPY dir:{clock:064x} in /bundle"
    told = {
        "architecture": "amd64",
        "os": "linux",
        "created": f"clock {clock}",
        "container": f"made by {clock}",
        "container_config": {"Hostname": str(clock)},
        "docker_version": "20",
        "config": {
            "Hostname": str(clock),
            "Image": f"parent {clock}",
            "User": "65532:65532",
            "Entrypoint": ["python3"],
            "Labels": {"mine": "kept"},
        },
        "history": [{"created": f"clock {clock}", "created_by": note}] * len(layers),
        "rootfs": {"type": "layers", "diff_ids": [sha(plain(one)) for one in layers]},
    }
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    manifest = [{"Config": "told.json", "RepoTags": None, "Layers": names}]
    files = dict(zip(names, layers, strict=True))
    files |= {
        "told.json": json.dumps(told).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    path.write_bytes(layer(files, clock))
    return path


def inspected(archive: Path) -> tuple[dict[str, Any], list[str]]:
    """An image as an engine's API tells it, with what it adds of its own; and what made it."""
    told = config(archive)
    text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    image = {
        "Id": sha(text),
        "Architecture": "amd64",
        "Os": "linux",
        "Variant": "",
        "RootFS": {"Layers": told["rootfs"]["diff_ids"]},
        "Config": told["config"] | {"Cmd": None, "Tty": False, "Domainname": ""},
    }
    return image, [step["created_by"] for step in told["history"]]


def top_layer(archive: Path) -> bytes:
    """The last layer in an archive."""
    with tarfile.open(archive) as tar:
        name = json.load(tar.extractfile("manifest.json"))[0]["Layers"][-1]
        return tar.extractfile(name).read()


def settled(source: Path, base: Any, who: str = "flights") -> Path:
    """The archive, settled on a base of one layer."""
    target = source.with_suffix(".settled")
    told = settle(
        source,
        target,
        reference="slipway/flights:1",
        labels={"slipway.model": who},
        base_layers=[sha(layer(base, 7))],
        created=0,
    )
    assert told == sha(json.dumps(config(target), sort_keys=True, separators=(",", ":")).encode())
    return target


def config(archive: Path) -> Any:
    """The configuration in an archive."""
    with tarfile.open(archive) as tar:
        name = json.load(tar.extractfile("manifest.json"))[0]["Config"]
        return json.load(tar.extractfile(name))


def dates(archive: Path, number: int) -> set[float]:
    """The dates of the files in a layer."""
    with tarfile.open(archive) as tar:
        name = json.load(tar.extractfile("manifest.json"))[0]["Layers"][number]
        with tarfile.open(fileobj=tar.extractfile(name)) as inner:
            return {info.mtime for info in inner}


def sha(data: bytes) -> str:
    """A digest as images tell it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
