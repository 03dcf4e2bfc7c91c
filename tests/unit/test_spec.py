"""``slipway.yaml``: every fault at once, each with its path, what was found, what is allowed."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.errors import SpecError
from slipway.release import Column
from slipway.spec import Spec, load, parse

FILE = Path("/models/flights/slipway.yaml")


def raw(**sections: Any) -> dict[str, Any]:
    """A whole, small spec, any of its sections replaced or extended."""
    whole: dict[str, Any] = {
        "model": "flights",
        "data": {
            "source": "csv",
            "target": "late",
            "features": [
                {"name": "distance", "kind": "number"},
                {"name": "carrier", "kind": "text", "required": False},
            ],
        },
        "trainer": {"use": "train:train"},
    }
    for name, value in sections.items():
        both = isinstance(value, dict) and name in whole
        whole[name] = {**whole[name], **value} if both else value
    return whole


def faults(**sections: Any) -> list[str]:
    """The faults of a spec, one per line, without the count above them."""
    with pytest.raises(SpecError) as caught:
        parse(raw(**sections), FILE)
    assert caught.value.where == str(FILE)
    assert caught.value.do
    return [line.strip() for line in caught.value.what.splitlines()[1:]]


def test_a_small_spec_is_completed_with_defaults() -> None:
    """What a team leaves out has a value that is safe."""
    spec = parse(raw(), FILE)
    assert [s.share for s in spec.rollout.steps] == [0.01, 0.05, 0.25, 0.5]
    assert (spec.rollout.strategy, spec.runtime.kind, spec.concurrency) == (
        "canary", "process", "refuse",
    )  # fmt: skip
    assert spec.data.fixed_rows == "refuse"


def test_the_signature_is_the_features_in_order() -> None:
    """What a request carries, as the chain's columns."""
    assert parse(raw(), FILE).signature == (
        Column("distance", "number"),
        Column("carrier", "text", required=False),
    )


def test_the_pack_lies_beside_the_spec_unless_it_is_named() -> None:
    """Relative paths start where the file lies."""
    assert parse(raw(), FILE).pack == FILE.parent / "expectations" / "flights"
    assert parse(raw(expectations="mine"), FILE).pack == FILE.parent / "mine"


@pytest.mark.parametrize(
    "push", ["", "registry.example/flights", "localhost:5000/team/flights", "localhost/flights"]
)
def test_an_image_is_pushed_to_a_repository_of_a_host(push: str) -> None:
    """By a name with a dot or a port, or this machine's."""
    assert parse(raw(image={"push": push}), FILE).image.push == push


@pytest.mark.parametrize("push", ["team/flights", "registry.example", "localhost/Flights"])
def test_a_repository_without_a_host_is_a_fault(push: str) -> None:
    """Docker would send it to its own public registry."""
    (found,) = faults(image={"push": push})
    assert found.startswith("image.push: ")


def test_three_faults_are_all_named() -> None:
    """Everything wrong is told together: path, what was found, what is allowed."""
    found = faults(model="Flights!", trainer={"use": "train"}, image={"build": "sometimes"})
    assert len(found) == 3
    assert [f.split(":")[0] for f in found] == ["model", "trainer.use", "image.build"]
    assert "'sometimes'" in found[2]
    assert "'auto', 'always' or 'never'" in found[2]


def test_the_count_of_faults_is_told() -> None:
    """The first line says how many there are, in good English."""
    with pytest.raises(SpecError, match="the spec has 1 fault:"):
        parse(raw(model=""), FILE)
    with pytest.raises(SpecError, match="the spec has 2 faults:"):
        parse(raw(model="", owner=1), FILE)


@pytest.mark.parametrize(
    ("sections", "path", "known"),
    [
        ({"trainr": {}}, "trainr", "did you mean 'trainer'?"),
        ({"data": {"sorce": "csv"}}, "data.sorce", "did you mean 'source'?"),
        ({"data": {"range": {"form": "2013-01-01"}}}, "data.range.form", "from, until"),
        ({"rollout": {"steps": [{"share": 0.1, "min": 1}]}}, "rollout.steps.0.min", "min_seconds"),
        ({"folder": "/tmp"}, "folder", "expectations"),
    ],
)
def test_an_unknown_key_lists_the_known_ones(
    sections: dict[str, Any], path: str, known: str
) -> None:
    """At every depth, with the nearest known key where one is near."""
    (found,) = faults(**sections)
    assert found.startswith(f"{path}: unknown key (allowed: ")
    assert known in found


@pytest.mark.parametrize(
    ("sections", "path", "allowed"),
    [
        (
            {"data": {"source": "excel"}},
            "data.source",
            "csv, parquet, or your own as 'module:name'",
        ),
        ({"rollout": {"strategy": "yolo"}}, "rollout.strategy", "canary"),
        ({"runtime": {"kind": "cloud"}}, "runtime.kind", "docker, kubernetes, process, swarm"),
        ({"runtime": {"limits": {"pids": 99}}}, "runtime", "another kind"),
        (
            {"runtime": {"kind": "docker", "limits": {"cpus": 0}}},
            "runtime.limits.cpus",
            "greater than 0",
        ),
        ({"concurrency": "maybe"}, "concurrency", "'refuse' or 'wait'"),
        ({"data": {"features": []}}, "data.features", "at least 1"),
        ({"data": {"fixed_rows": "keep"}}, "data.fixed_rows", "'drop' or 'refuse'"),
        ({"runtime": {"replicas": 0}}, "runtime.replicas", "greater than or equal to 1"),
        ({"trainer": {"timeout": 0}}, "trainer.timeout", "greater than 0"),
        ({"trainer": {"timeout": float("inf")}}, "trainer.timeout", "finite"),
        ({"trainer": None}, "trainer", "dictionary"),
        ({"serving": {"budget_ms": -1}}, "serving.budget_ms", "at least 1"),
        ({"rollout": {"steps": [{"share": 1.0}]}}, "rollout.steps.0.share", "less than 1"),
    ],
)
def test_a_value_that_is_not_allowed_says_what_is(
    sections: dict[str, Any], path: str, allowed: str
) -> None:
    """The path, and what would have been right."""
    (found,) = faults(**sections)
    assert found.startswith(f"{path}: found ")
    assert allowed in found


def test_what_is_missing_is_named() -> None:
    """A spec without its trainer, or a section without its key."""
    whole = raw()
    del whole["trainer"], whole["data"]["target"]
    with pytest.raises(SpecError) as caught:
        parse(whole, FILE)
    assert "data.target: missing" in caught.value.what
    assert "trainer: missing" in caught.value.what


@pytest.mark.parametrize("shares", [[0.5, 0.1], [0.1, 0.1]])
def test_shares_must_rise(shares: list[float]) -> None:
    """A ladder that goes down or stands still is no ladder."""
    (found,) = faults(rollout={"steps": [{"share": s} for s in shares]})
    assert f"the shares {shares} do not rise" in found


def test_faults_that_only_show_together_are_all_told() -> None:
    """Two sections' cross-checks, and two in one section, are told in one go."""
    found = faults(
        data={"target": "distance", "features": [{"name": "distance", "kind": "number"}] * 2},
        rollout={
            "steps": [{"share": 0.5}, {"share": 0.1}],
            "tick_seconds": 50.0,
            "lease_seconds": 60.0,
        },
    )
    text = "\n".join(found)
    assert "features named twice: distance" in text
    assert "the target 'distance' is also a feature" in text
    assert "do not rise" in text
    assert "a lease must outlive a missed tick" in text


def test_a_step_that_could_never_pass_is_a_fault() -> None:
    """With a least time above its most time a step always ends before it may pass."""
    step = {"share": 0.1, "min_seconds": 60.0, "max_seconds": 30.0}
    (found,) = faults(rollout={"steps": [step]})
    assert found.startswith("rollout.steps.0: found ")
    assert "min_seconds 60 is over max_seconds 30" in found


def test_a_league_has_slices_and_no_steps() -> None:
    """They would be a promise that nothing keeps. Its times are held as a step's."""
    (found,) = faults(rollout={"strategy": "league", "steps": [{"share": 0.1}]})
    assert "a league has no steps" in found
    (found,) = faults(rollout={"league": {"min_seconds": 60.0, "max_seconds": 30.0}})
    assert "min_seconds 60 is over max_seconds 30" in found


def test_a_floor_leaves_room_for_all_who_may_join() -> None:
    """Four members that are alike have 7.7 % each where one alone has 10 %."""
    (found,) = faults(rollout={"strategy": "league", "league": {"floor": 0.08}})
    assert "a floor of 0.08 is more than the 0.07692 that 4 members would have alike" in found
    fits = parse(raw(rollout={"strategy": "league", "league": {"floor": 0.07}}), FILE)
    assert fits.rollout.league.rules == {"most": 4, "floor": 0.07, "shift_seconds": 86_400.0}


def test_copies_may_come_before_planned_steps() -> None:
    """And before a switch, but not before what has copies, members or shares of its own."""
    told = parse(raw(rollout={"shadow_first": True}), FILE).rollout.shares
    assert [(s["share"], s.get("mirror", False)) for s in told] == [
        (1.0, True), (0.01, False), (0.05, False), (0.25, False), (0.5, False),
    ]  # fmt: skip
    for other in ({"strategy": "shadow"}, {"strategy": "league"}, {"steps": "auto"}):
        (found,) = faults(rollout={"shadow_first": True, **other})
        assert "shadow_first comes before planned steps" in found


def test_a_range_that_holds_no_moment_is_a_fault() -> None:
    """The first moment must lie before the last."""
    (found,) = faults(data={"range": {"from": "2013-04-01", "until": "2013-01-01"}})
    assert found.startswith("data.range: found ")
    assert "is not before" in found


def test_own_parts_are_named_as_module_and_name() -> None:
    """A team's own source and strategy come in by the same door as ours."""
    spec = parse(raw(data={"source": "data:load"}, rollout={"strategy": "mine:Ladder"}), FILE)
    assert (spec.data.source, spec.rollout.strategy) == ("data:load", "mine:Ladder")


def test_a_spec_is_frozen() -> None:
    """Nobody changes a spec that was checked."""
    with pytest.raises(ValueError, match="frozen"):
        parse(raw(), FILE).model = "other"


def written(folder: Path, text: str | bytes | None = None) -> Path:
    """Lay down a slipway.yaml."""
    content = yaml.safe_dump(raw()) if text is None else text
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "slipway.yaml").write_bytes(data)
    return folder


def test_a_folder_or_a_file_may_be_named(tmp_path: Path) -> None:
    """Both give the same spec, which knows its folder."""
    spec = load(written(tmp_path))
    assert spec == load(tmp_path / "slipway.yaml")
    assert spec.folder == tmp_path


def test_single_values_are_overridden_by_path(tmp_path: Path) -> None:
    """An override is checked like what is written, and makes sections that are not there."""
    spec = load(written(tmp_path), {"data.range.until": "2013-05-01", "trainer.seed": 7})
    assert spec.data.range.until == datetime.date(2013, 5, 1)
    assert spec.trainer.seed == 7
    assert load(tmp_path).trainer.seed == 0


def test_a_wrong_override_is_a_fault_with_its_path(tmp_path: Path) -> None:
    """An override cannot bring in an unknown key, nor reach inside a value."""
    with pytest.raises(SpecError, match=r"trainer.sed: unknown key"):
        load(written(tmp_path), {"trainer.sed": 7})
    with pytest.raises(SpecError, match="'model' is a value, not a section") as caught:
        load(tmp_path, {"model.name": "x"})
    assert caught.value.do


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "the spec is empty"),
        ("- a list", "is no list of keys and values"),
        ("a: [1", "not YAML"),
        ("a: !!python/object:os.system {}", "not YAML"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)
def test_a_file_that_is_no_spec_says_why(tmp_path: Path, content: str | bytes, what: str) -> None:
    """Empty, a list, broken YAML, a Python object, or bytes: one error each, with the place."""
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, content))
    assert what in caught.value.what
    assert caught.value.where.endswith("slipway.yaml")
    assert caught.value.do


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    """The advice names the command that lays one down."""
    with pytest.raises(SpecError, match="cannot be read") as caught:
        load(tmp_path)
    assert "slipway new" in caught.value.do


def test_every_key_of_the_spec_is_reached_by_the_list_of_known_keys() -> None:
    """The model's own fields are what an unknown key is answered with."""
    (found,) = faults(zzz=1)
    assert all(name in found for name in Spec.model_fields if name != "folder")
