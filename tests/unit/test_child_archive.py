"""A stored model's bytes name the model, not the run that stored it."""

import io
import json
import zipfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slipway.child.artefact import canonical_archive

WEIGHTS = b"the weights"
Date = tuple[int, int, int, int, int, int]


def archive(first: int, second: int, name: str, date: Date, data: bytes = WEIGHTS) -> bytes:
    """An archive as skops writes it: addresses, a random file name, and the time of day."""
    schema: dict[str, Any] = {
        "__id__": first,
        "content": [{"__id__": second, "file": name}, {"__id__": first, "loader": "cached"}],
        "again": {"__id__": second, "file": name},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr(zipfile.ZipInfo(name, date), data)
        target.writestr(zipfile.ZipInfo("schema.json", date), json.dumps(schema))
    return out.getvalue()


dates = st.tuples(st.integers(1980, 2100), *[st.integers(1, 12)] * 5)
addresses = st.lists(st.integers(1, 2**63), min_size=2, max_size=2, unique=True)


@given(ids=addresses, name=st.uuids(), date=dates)
def test_addresses_names_and_dates_leave_no_trace(ids: list[int], name: Any, date: Date) -> None:
    """Two runs that store equal models differ in all three, and must give equal bytes."""
    plain = canonical_archive(archive(1, 2, "1.bin", (1980, 1, 1, 0, 0, 0)))
    assert canonical_archive(archive(*ids, f"{name}.bin", date)) == plain


def test_what_was_one_object_stays_one_object() -> None:
    """Renumbering keeps which nodes are the same object, and which file belongs to which."""
    data = canonical_archive(archive(77, 99, "x.bin", (2026, 1, 1, 0, 0, 0)))
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        schema = json.loads(source.read("schema.json"))
        assert source.read(schema["content"][0]["file"]) == WEIGHTS
    assert schema["__id__"] == schema["content"][1]["__id__"] == 1
    assert schema["content"][0] == schema["again"] == {"__id__": 2, "file": "1.bin"}


def test_other_contents_are_other_bytes() -> None:
    """Only what says nothing of the model is taken out."""
    date = (2026, 1, 1, 0, 0, 0)
    one = canonical_archive(archive(1, 2, "x.bin", date))
    assert one != canonical_archive(archive(1, 2, "x.bin", date, b"new weights"))
