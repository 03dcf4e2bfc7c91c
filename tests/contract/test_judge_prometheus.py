"""``slipway judge --prometheus``, against a real Prometheus with history put into it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.cli import main
from slipway.errors import UsageError
from slipway.stores.prometheus import query_range, resemblance
from tests.contract.conftest import free_port

START = 1_750_000_000
WINDOWS = 240
SPAN = ("--start", "2025-06-15T15:07:40Z", "--end", "2025-06-15T19:06:40Z", "--step", "60s")
GATE = """
[[gate]]
metric = "{name}"
kind = "guardrail"
type = "{type}"
direction = "lower"
low = 0
high = 1
margin = {{ absolute = {margin} }}
query = '{query}'
"""
RATIO = "sum by (arm) (increase(errors_total[1m])) / sum by (arm) (increase(requests_total[1m]))"
Judge = Callable[..., tuple[int, str, str]]


def history() -> str:
    """Four hours of counters of three arms in OpenMetrics: one is as stable, one fails more often.

    Between two scrapes each arm has about 200 requests; ``load`` is a gauge that drifts.
    """
    rng = random.Random(3)
    arms = {"stable": 0.02, "same": 0.02, "worse": 0.08}
    lines: dict[str, list[str]] = {"requests": [], "errors": [], "load": []}
    for arm, rate in arms.items():
        requests = errors = 0
        load = 0.5
        for i in range(4 * WINDOWS + 1):
            at = START + 15 * i
            sent = rng.randrange(40, 60)
            requests += sent
            errors += sum(rng.random() < rate for _ in range(sent))
            load = min(max(load + rng.gauss(0, 0.02), 0.0), 1.0)
            lines["requests"].append(f'requests_total{{arm="{arm}"}} {requests} {at}')
            lines["errors"].append(f'errors_total{{arm="{arm}"}} {errors} {at}')
            lines["load"].append(f'load{{arm="{arm}"}} {load} {at}')
    kinds = {"requests": "counter", "errors": "counter", "load": "gauge"}
    parts = ["\n".join([f"# TYPE {n} {kinds[n]}", *told]) for n, told in lines.items()]
    return "\n".join([*parts, "# EOF\n"])


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """A real server on loopback with that history, as a URL."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        reason = "no Prometheus is installed (Debian: prometheus), which these tests start"
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="slipway-prometheus-") as home:
        folder, port = Path(home), free_port()
        (folder / "history").write_text(history())
        (folder / "prometheus.yml").write_text("global: {}\n")
        data = str(folder / "data")
        subprocess.run(
            [
                "promtool",
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                str(folder / "history"),
                data,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None
            told = []
            for line in server.stderr:  # it tells when it is ready, or ends
                told.append(line)
                if "ready to receive web requests" in line:
                    break
            else:
                pytest.fail("Prometheus did not start: " + "".join(told))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Judge:
    """The command with one gate of a query."""

    def run(
        query: str, *arguments: str, margin: float = 0.02, type_: str = "mean"
    ) -> tuple[int, str, str]:
        gate = GATE.format(name="errors", query=query, margin=margin, type=type_)
        (tmp_path / "gates.toml").write_text(gate)
        gates = ("--gates", str(tmp_path / "gates.toml"))
        monkeypatch.setattr(sys, "argv", ["slipway", "judge", *gates, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        return int(ended.value.code or 0), seen.out, seen.err

    return run


def test_windows_of_a_real_server_are_judged(prometheus: str, judge: Judge) -> None:
    """The arm that fails four times as often fails; the other passes within the margin."""
    code, out, err = judge(RATIO, "--prometheus", prometheus, *SPAN, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["outcome"] == "fail"
    assert told["arms"]["candidate"] == "worse"
    assert told["unit"] == "window"
    assert told["candidates"]["same"]["outcome"] == "pass"
    gate = told["gates"][0]
    assert gate["effect"] == pytest.approx(0.06, abs=0.01)
    assert gate["interval"][0] > 0.02
    assert gate["units"] == [WINDOWS, WINDOWS]


def test_a_person_is_told_that_windows_are_no_users(prometheus: str, judge: Judge) -> None:
    """The words say what is not claimed; looks work as on a file."""
    _, out, _ = judge(RATIO, "--prometheus", prometheus, *SPAN, "--looks", "every:300s")
    assert "worse against stable: fail" in out
    assert "nothing is claimed of users" in out


def test_windows_that_resemble_their_neighbours_are_refused(prometheus: str, judge: Judge) -> None:
    """A drifting gauge says less than its number of windows."""
    code, _, err = judge("load", "--prometheus", prometheus, *SPAN)
    assert code == 2
    assert "resemble their neighbours" in err
    assert "--step" in err


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sum(requests_total)", "a series without arm"),
        ('{__name__=~"(requests|errors)_total"}', "several series of one arm"),
        ("sum by (", "Prometheus refuses the query"),
        ("nothing_of_that_name", "the queries gave nothing"),
        ('load{arm="stable"}', "there is one arm only"),
    ],
)
def test_queries_that_are_not_one_series_per_arm_get_one_clear_error(
    prometheus: str, judge: Judge, query: str, message: str
) -> None:
    """What the server says is passed on."""
    code, _, err = judge(query, "--prometheus", prometheus, *SPAN)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to judge"),
        (("--prometheus", "http://127.0.0.1:9"), "--start is None"),
        (("--prometheus", "http://127.0.0.1:9", "--start", "now"), "--start is 'now'"),
        (("--prometheus", "http://127.0.0.1:9", *SPAN[:5], "soon"), "--step is 'soon'"),
        (("--prometheus", "http://127.0.0.1:9", *SPAN), "Prometheus does not answer"),
        (("--prometheus", "file:///etc", *SPAN), "asked over http or https"),
    ],
)
def test_wrong_usage_gets_one_clear_error(
    judge: Judge, arguments: tuple[str, ...], message: str
) -> None:
    """No server is needed to be refused."""
    code, _, err = judge("load", *arguments)
    assert code == 2
    assert message in err


def test_a_rate_of_windows_is_refused(judge: Judge) -> None:
    """A window's error ratio is no error of a unit: its gate is a mean with bounds."""
    code, _, err = judge("load", "--prometheus", "http://127.0.0.1:9", *SPAN, type_="rate")
    assert code == 2
    assert "allowed with a query: mean" in err


def test_resemblance_is_the_correlation_of_neighbours() -> None:
    """Alternating values differ, rising ones agree, and constant ones say nothing."""
    assert resemblance({float(i): float(i % 2) for i in range(100)}) == pytest.approx(-0.99)
    assert resemblance({float(i): float(i) for i in range(100)}) == pytest.approx(0.97, abs=0.01)
    assert resemblance(dict.fromkeys(map(float, range(100)), 1.0)) == 0.0
    assert resemblance({}) == 0.0


def test_too_many_points_are_refused_in_the_server_s_words(prometheus: str) -> None:
    """Prometheus gives at most 11,000 points a series."""
    with pytest.raises(UsageError, match="exceeded maximum resolution"):
        query_range(prometheus, "load", start=START, end=START + 20_000, step=1)
