"""The whole story on real flights: three releases, one promoted, one caught, and a drift report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.advance import see_through
from flows.release import release
from flows.watch import watch
from slipway.home import Home
from tasks import tale
from tasks.replay import replay
from tasks.serve import ensure_gateway

MODEL = "flights"
FOLDER = Path(__file__).parents[1] / "examples" / MODEL
FAST, RATE = 2000, 450  # flights a second; they flew some forty thousand times slower
TICK_SECONDS = 1.0
NEWER = {"data.range.until": "2013-04-16"}
FAULTY = {
    **NEWER,
    "data.params": {"delay_unit": "hours"},
    "expectations": "expectations/flights-blind",  # frozen by the same faulty pipeline
}


@flow(name="demo")
def demo() -> None:
    """Launch three releases of the flights model on replayed traffic, and watch for drift."""
    home, spec = Home.of(), str(FOLDER)
    tale.begin(home, MODEL)
    gateway = ensure_gateway(home)

    tale.chapter("1. The first release, trained on January to March: no baseline")
    release(spec, actor="demo")

    tale.chapter("2. Early April flies: real requests, and real outcomes a moment later")
    with replay(FOLDER, gateway, "2013-04-01", "2013-04-16", FAST) as april:
        april.begin()
        april.finish()

    tale.chapter("3. Retrained with the newer data, launched in stages while flights go on")
    with replay(FOLDER, gateway, "2013-04-16", "2013-05-22", RATE) as spring:
        release(spec, overrides=NEWER, actor="demo", wait=False)
        spring.begin()
        see_through(home, MODEL, tale.opened(home, MODEL), TICK_SECONDS)

    tale.chapter("4. A release with a real fault: it learnt hours, and requests send minutes")
    with replay(FOLDER, gateway, spring.summary["last_time"], "2013-06-01", RATE) as may:
        release(spec, overrides=FAULTY, actor="demo", wait=False)
        wrong = tale.opened(home, MODEL)
        may.begin()
        see_through(home, MODEL, wrong, TICK_SECONDS)

    tale.chapter("5. June, held against what the live model learnt")
    watch(spec, since="2013-06-01", until="2013-07-01")

    tale.end(home, MODEL, wrong)
