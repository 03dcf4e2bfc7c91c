"""The ledger in SQL: SQLite by default, PostgreSQL by URL, through SQLAlchemy Core.

Entries and manifests are only ever inserted. Beside them stand small tables of what is true *now*
and may be forgotten: leases, placements (where a release answers), which releases stand by for a
route that will name them, and acknowledgements.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError

from slipway.errors import Busy, LedgerConflict, LedgerError
from slipway.ledger import GENESIS, Draft, Entry, faults, seal, unrecorded
from slipway.lifecycle import Event
from slipway.release import PREFIX, Release, canonical, digest, short
from slipway.routing import Lease, Route, RouteTable

BUSY_SECONDS = 10.0
META = sa.MetaData()

ENTRIES = sa.Table(
    "slipway_entries",
    META,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float(53), nullable=False),
    sa.Column("event", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("prev", sa.String(80), nullable=False),
    sa.Column("hash", sa.String(80), nullable=False, unique=True),
)
# The head is kept apart from the entries, so that a chain cut off at its end shows.
HEADS = sa.Table(
    "slipway_heads",
    META,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("hash", sa.String(80), nullable=False),
)
MANIFESTS = sa.Table(
    "slipway_manifests",
    META,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
LEASES = sa.Table(
    "slipway_leases",
    META,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("route", sa.Integer, nullable=False),
    sa.Column("renewal", sa.Integer, nullable=False),
    sa.Column("at", sa.Float(53), nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
)
PLACEMENTS = sa.Table(
    "slipway_placements",
    META,
    sa.Column("release", sa.String(80), primary_key=True),
    sa.Column("endpoints", sa.Text, nullable=False),
)
STANDING_BY = sa.Table(
    "slipway_standing_by",
    META,
    sa.Column("release", sa.String(80), primary_key=True),
    sa.Column("until", sa.Float(53), nullable=False),
)
ACKS = sa.Table(
    "slipway_acks",
    META,
    sa.Column("gateway", sa.String(200), primary_key=True),
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("route", sa.Integer, nullable=False),
    sa.Column("at", sa.Float(53), nullable=False),
)


def open_ledger(url: str) -> SqlLedger:
    """Open the ledger at a database URL, making its tables where they are missing.

    Args:
        url: ``sqlite:///path/to/ledger.db`` or ``postgresql+psycopg://user@host/database``.

    Raises:
        LedgerError: the database cannot be reached or opened.
    """
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine)
        _make_tables(engine)
    except (DBAPIError, OSError, sa.exc.ArgumentError, ImportError) as error:
        raise LedgerError(
            f"the ledger cannot be opened: {str(error).splitlines()[0]}",
            where=_without_password(url),
            do="check the address, that the server runs, and that this user may create tables",
        ) from error
    return SqlLedger(engine)


def _make_tables(engine: sa.Engine) -> None:
    """Make what is missing; several processes may open a new ledger at once, and one makes it."""
    if set(META.tables) <= set(sa.inspect(engine).get_table_names()):
        return
    with engine.execution_options(slipway_write=True).begin() as db:
        if engine.dialect.name == "postgresql":
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(_lock_key("tables"))))
        META.create_all(db)


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _tune_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def pragmas(connection: Any, _record: object) -> None:
        # The driver must not open transactions on its own: "begin" below takes the write lock
        # first, so that two writers wait for each other instead of failing half-way.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("slipway_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _use_wal(connection: Any) -> None:
    """Have the database write ahead, which it remembers from then on.

    While another process makes the same change to a new database, SQLite answers "locked" at once
    and does not wait for it: so we do.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # between two tries; the condition is the database's answer


class SqlLedger:
    """A ``LedgerStore`` on any database that SQLAlchemy speaks (tried: SQLite, PostgreSQL)."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        # A reader sees one moment: entries and their head belong together. SQLite always does so.
        postgres = engine.dialect.name == "postgresql"
        one_moment = {"isolation_level": "REPEATABLE READ"} if postgres else {}
        self.reader = engine.execution_options(**one_moment)
        self._watch: Any = None  # the driver's own connection

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._told(), self.reader.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        writer = self.engine.execution_options(slipway_write=True)
        with self._told(), writer.begin() as connection:
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell a person what a database error means, without its SQL."""
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, sqlite3.Error) as error:
            cause = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()[0]
            raise LedgerError(
                f"the ledger's database does not answer: {cause}",
                where=_without_password(str(self.engine.url)),
                do="check that the server runs and its disk has room, then run the same again",
            ) from error

    # Entries

    def append(self, draft: Draft, *, expect: str) -> Entry:
        """Append after the entry whose hash is ``expect``; one transaction, all or nothing.

        Raises:
            LedgerConflict: the head moved since it was read.
        """
        try:
            with self._write() as db:
                last = _last(db, draft.model)
                if (last.hash if last else GENESIS) != expect:
                    raise _conflict(draft.model)
                entry = seal(draft, last)
                db.execute(ENTRIES.insert().values(**_row(entry)))
                if last is None:
                    db.execute(HEADS.insert().values(model=draft.model, hash=entry.hash))
                else:
                    moved = HEADS.update().where(HEADS.c.model == draft.model)
                    db.execute(moved.values(hash=entry.hash))
        except IntegrityError as error:
            # PostgreSQL lets two writers read the same head; the primary key lets one insert.
            raise _conflict(draft.model) from error
        return entry

    def entries(self, model: str) -> tuple[Entry, ...]:
        """A model's entries, oldest first."""
        query = ENTRIES.select().where(ENTRIES.c.model == model).order_by(ENTRIES.c.seq)
        with self._read() as db:
            return tuple(_entry(row) for row in db.execute(query).mappings())

    def models(self) -> tuple[str, ...]:
        """Every model that has an entry or a head, by name: losing one must not hide the other."""
        # A model that gateways serve was released, whatever is left of its chain.
        tables = (HEADS, ENTRIES, ACKS)
        query = sa.union(*(sa.select(table.c.model) for table in tables))
        with self._read() as db:
            return tuple(sorted(db.execute(query).scalars()))

    def stamp(self) -> object:
        """SQLite's own count of what others have committed; None for PostgreSQL, which has none.

        It is told per connection, so this takes one of its own, outside of any transaction.
        """
        if self.engine.dialect.name != "sqlite":
            return None
        with self._told():
            if self._watch is None:
                self._watch = self.engine.raw_connection()
            return self._watch.cursor().execute("PRAGMA data_version").fetchone()

    def faults(self, model: str) -> list[str]:
        """What is wrong with a model's chain; empty when it is whole."""
        with self._read() as db:
            head = db.execute(sa.select(HEADS.c.hash).where(HEADS.c.model == model)).scalar()
            query = ENTRIES.select().where(ENTRIES.c.model == model).order_by(ENTRIES.c.seq)
            rows = db.execute(query).mappings().all()
            acked = sa.select(sa.func.max(ACKS.c.route)).where(ACKS.c.model == model)
            served = db.execute(acked).scalar() or 0
        entries, unreadable = [], []
        for row in rows:
            try:
                entries.append(_entry(row))
            except LedgerError as error:
                unreadable.append(error.what)
        chain = unreadable or faults(entries, head or GENESIS)
        return chain or unrecorded(model, entries, served)

    # Manifests

    def put_manifest(self, release: Release) -> None:
        """Keep a manifest by its id. The first record of an id stays: a manifest is immutable."""
        row = {
            "id": release.id,
            "model": release.model,
            "body": canonical(release.record()).decode(),
        }
        with self._write() as db:
            db.execute(_insert(db, MANIFESTS, row).on_conflict_do_nothing())

    def manifest(self, release_id: str) -> Release:
        """The manifest of an id, or of its unambiguous beginning.

        Raises:
            LedgerError: none or several begin so, or the stored one does not give its id.
        """
        start = release_id if release_id.startswith(PREFIX) else PREFIX + release_id
        query = MANIFESTS.select().where(MANIFESTS.c.id.startswith(start, autoescape=True))
        with self._read() as db:
            rows = db.execute(query.limit(2)).mappings().all()
        if len(rows) != 1:
            found = "no release begins" if not rows else "several releases begin"
            raise LedgerError(
                f"{found} with '{release_id}'", do="see 'slipway history' for the ids on record"
            )
        release = Release.from_record(json.loads(rows[0]["body"]))
        if release.id != rows[0]["id"]:
            raise LedgerError(
                f"the manifest of {short(release_id)} was changed: it does not give its id",
                do="restore the ledger's database from a backup",
            )
        return release

    # What is true now

    def renew(self, model: str, route: int, seconds: float, now: float) -> Lease:
        """Renew the lease of a route by its next renewal number."""
        row = {"model": model, "route": route, "renewal": 1, "at": now, "seconds": seconds}
        with self._write() as db:
            put = _upsert(db, LEASES, row, renewal=LEASES.c.renewal + 1)
            renewal = db.execute(put.returning(LEASES.c.renewal)).scalar_one()
        return Lease(route, renewal, now, seconds)

    def lease(self, model: str) -> Lease | None:
        """The last lease granted for a model, of whatever route."""
        with self._read() as db:
            return _lease(db, model)

    def place(self, release_id: str, endpoints: Sequence[str]) -> None:
        """Say where a release answers now; no endpoints forgets it."""
        row = {"release": release_id, "endpoints": json.dumps(list(endpoints))}
        with self._write() as db:
            if endpoints:
                db.execute(_upsert(db, PLACEMENTS, row))
            else:
                db.execute(PLACEMENTS.delete().where(PLACEMENTS.c.release == release_id))

    def placed(self, release_id: str) -> tuple[str, ...]:
        """Where a release answers, as last said."""
        query = sa.select(PLACEMENTS.c.endpoints).where(PLACEMENTS.c.release == release_id)
        with self._read() as db:
            found = db.execute(query).scalar()
        return tuple(json.loads(found)) if found else ()

    def stand_by(self, release_id: str, until: float) -> None:
        """Say that a release is being started for a route to come, and is needed until then."""
        row = {"release": release_id, "until": until}
        with self._write() as db:
            db.execute(_upsert(db, STANDING_BY, row))

    def standing_by(self, now: float) -> frozenset[str]:
        """The releases that are needed although no entry says so yet."""
        query = sa.select(STANDING_BY.c.release).where(STANDING_BY.c.until > now)
        with self._read() as db:
            return frozenset(db.execute(query).scalars())

    def route(self, model: str) -> Route | None:
        """What gateways serve: the last table recorded, where its releases answer, its lease."""
        query = (
            sa.select(ENTRIES.c.body)
            .where(ENTRIES.c.model == model, ENTRIES.c.body.contains('"route":{'))
            .order_by(ENTRIES.c.seq.desc())
        )
        with self._read() as db:
            # The text may also stand deeper in a body: only the body's own key is a route.
            bodies = map(json.loads, db.execute(query).scalars())
            record = next((body["route"] for body in bodies if body.get("route")), None)
            if record is None:
                return None
            table = RouteTable.from_record(record)
            releases = [a.release for a in table.arms]
            placed = db.execute(PLACEMENTS.select().where(PLACEMENTS.c.release.in_(releases)))
            endpoints = {
                row["release"]: tuple(json.loads(row["endpoints"])) for row in placed.mappings()
            }
            lease = _lease(db, model)
        held = lease if lease and lease.route == table.number else None
        return Route(table, endpoints, held)

    def acknowledge(self, gateway: str, model: str, route: int, now: float) -> None:
        """A gateway says which route number it serves."""
        row = {"gateway": gateway, "model": model, "route": route, "at": now}
        with self._write() as db:
            db.execute(_upsert(db, ACKS, row))

    def acknowledged(self, model: str) -> Mapping[str, tuple[int, float]]:
        """Gateway to (route number, when it said so)."""
        with self._read() as db:
            rows = db.execute(ACKS.select().where(ACKS.c.model == model)).mappings()
            return {row["gateway"]: (row["route"], row["at"]) for row in rows}

    # One release at a time

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Hold a model for one release; the operating system or server frees it if we die.

        Raises:
            Busy: another process holds it.
        """
        if self.engine.dialect.name == "sqlite":
            with _file_lock(f"{self.engine.url.database}.{model}.lock", model):
                yield
        else:
            with self._advisory_lock(model):
                yield

    @contextmanager
    def _advisory_lock(self, model: str) -> Iterator[None]:
        """The lock of a connection: the server frees it when the connection ends."""
        key = _lock_key(model)
        # Without a transaction, which would stay open, and be in the way, for a whole release.
        holder = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._told():
            db = holder.connect()
        with db:
            with self._told():
                free = db.execute(sa.select(sa.func.pg_try_advisory_lock(key))).scalar()
            if not free:
                raise _busy(model)
            try:
                yield  # outside of _told: what the release itself raises is not the ledger's
            finally:
                with self._told():
                    db.execute(sa.select(sa.func.pg_advisory_unlock(key)))


@contextmanager
def _file_lock(path: str, model: str) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(model) from None
        yield
    finally:
        os.close(handle)


def _lock_key(name: str) -> int:
    """PostgreSQL names its locks by numbers of 64 bits."""
    return int(digest(f"slipway lock {name}").removeprefix(PREFIX)[:15], 16)


def _busy(model: str) -> Busy:
    return Busy(
        f"another release of {model} is under way",
        where="the lock of the model in the ledger",
        do="wait for it to end, or set 'concurrency: wait' in slipway.yaml",
    )


def _conflict(model: str) -> LedgerConflict:
    return LedgerConflict(
        f"another writer changed {model} in between", do="run the same again: it starts from there"
    )


def _last(db: sa.Connection, model: str) -> Entry | None:
    query = ENTRIES.select().where(ENTRIES.c.model == model).order_by(ENTRIES.c.seq.desc())
    row = db.execute(query.limit(1)).mappings().first()
    return _entry(row) if row else None


def _lease(db: sa.Connection, model: str) -> Lease | None:
    row = db.execute(LEASES.select().where(LEASES.c.model == model)).mappings().first()
    return Lease(row["route"], row["renewal"], row["at"], row["seconds"]) if row else None


def _insert(db: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> Any:
    """An insert in the database's own dialect, which can say what to do where the row is."""
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).values(**row)


def _upsert(db: sa.Connection, table: sa.Table, row: Mapping[str, Any], **changed: Any) -> Any:
    """Insert, or change the row with this key: one statement, safe beside other writers.

    Args:
        changed: columns that get another value where the row is there already.
    """
    keys = [column.name for column in table.primary_key]
    values = {name: value for name, value in row.items() if name not in keys}
    put = _insert(db, table, row)
    return put.on_conflict_do_update(index_elements=keys, set_={**values, **changed})


def _row(entry: Entry) -> dict[str, Any]:
    return {
        **entry.record(),
        "event": str(entry.event),
        "body": canonical(dict(entry.body)).decode(),
    }


def _entry(row: Any) -> Entry:
    try:
        return Entry(**{**row, "event": Event(row["event"]), "body": json.loads(row["body"])})
    except ValueError as error:
        raise LedgerError(
            f"entry {row['seq']} of {row['model']} was changed: it cannot be read ({error})",
            do="'slipway verify' tells all that is wrong; restore the database from a backup",
        ) from error
