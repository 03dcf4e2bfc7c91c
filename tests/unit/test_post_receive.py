"""What the git hook says to Prefect, and of which pushes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway.post_receive import event, pushed

OLD, NEW = "a" * 40, "b" * 40
CONFIG = {
    "resource": "slipway.git.flights",
    "repository": "/srv/git/flights.git",
    "branch": "main",
    "spec": "slipway.yaml",
}


def test_a_push_of_the_branch_is_told() -> None:
    """The configured branch's line is found among the others."""
    lines = [f"{OLD} {NEW} refs/heads/wip", f"{NEW} {OLD} refs/heads/main"]
    assert pushed(lines, "main") == (NEW, OLD)


def test_a_tag_of_the_same_name_is_not_the_branch() -> None:
    """A tag, or a branch whose name only ends alike, starts nothing."""
    lines = [f"{OLD} {NEW} refs/tags/main", f"{OLD} {NEW} refs/heads/not/main"]
    assert pushed(lines, "main") is None


def test_a_deleted_branch_is_not_a_push() -> None:
    """Git names a deletion by a new commit of zeros, in SHA-1 and SHA-256 repositories."""
    assert pushed([f"{OLD} {'0' * 40} refs/heads/main"], "main") is None
    assert pushed([f"{OLD} {'0' * 64} refs/heads/main"], "main") is None


def test_a_first_push_is_told() -> None:
    """A new branch has an old commit of zeros, and counts."""
    assert pushed([f"{'0' * 40} {NEW} refs/heads/main"], "main") == ("0" * 40, NEW)


@given(st.lists(st.sampled_from(["refs/heads/wip", "refs/tags/main", "refs/notes/main"])))
def test_other_refs_never_count(refs: list[str]) -> None:
    """However many other refs are pushed, the branch was not."""
    assert pushed([f"{OLD} {NEW} {ref}" for ref in refs], "main") is None


def test_the_event_carries_what_a_release_needs() -> None:
    """The payload names the commit, branch, repository and spec; the resource is the repository."""
    told = event(CONFIG, OLD, NEW, "id", "2026-01-01T00:00:00+00:00")
    assert told["event"] == "git.push"
    assert told["resource"]["prefect.resource.id"] == "slipway.git.flights"
    assert told["resource"]["prefect.resource.name"] == "flights.git"
    assert told["payload"] == {
        "commit": NEW,
        "before": OLD,
        "branch": "main",
        "ref": "refs/heads/main",
        "repository": "/srv/git/flights.git",
        "spec": "slipway.yaml",
    }
