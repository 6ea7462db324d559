"""From one schema to the next: adopted, copied, upgraded, refused; nothing lost."""

import asyncio
import io
import json
import logging
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, select

from monitor.common.audit import Actor
from monitor.common.bans import Ban
from monitor.diagnosis.evidence import Code
from monitor.health.snapshot import Override, State
from monitor.store import backup, queries, sqlite
from monitor.store.database import backend_of
from monitor.store.errors import StoreError
from monitor.store.latencies import Curves
from monitor.store.queries import read_windows
from monitor.store.records import Transition
from monitor.store.store import Store
from monitor.store.tables import OLDEST, REVISION, IssuedKeyRow, LedgerBatchRow, SecretRow, UseRow
from monitor.store.transfer import transfer
from router.cli import main
from router.cli.console import Console
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.programs import require

FIRST_RELEASE = Path(__file__).with_name("first_release.sql")
NOW = 1_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def first_release(path: Path) -> Path:
    """A file as the first release left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(FIRST_RELEASE.read_text("utf-8"))
        connection.executemany(
            "INSERT INTO sample VALUES ('hk', ?, 'here', ?, ?, 'ok', NULL, 1500, 2, 3)",
            [
                (int((NOW - 600 + n * 15) * 1000), n != 3, "down" if n in (3, 4) else "up")
                for n in range(20)
            ],
        )
        connection.execute(
            "INSERT INTO transition VALUES (7, 'hk', 5.5, 'here', 'down', 'tls_reset', 'why')"
        )
        connection.execute(
            "INSERT INTO ban VALUES ('b1', '192.0.2.1/32', 1, NULL, 'r', 'operator', 'curl', 1, "
            "NULL, '')"
        )
        connection.execute("INSERT INTO wish VALUES ('hk', 'drain', NULL, 'operator', 1)")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    path.chmod(0o600)
    return path


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def opened_and_closed(url: str) -> None:
    await (await Store.open(url)).close()


def test_the_tables_are_what_the_steps_make_of_them(store_url):
    asyncio.run(opened_and_closed(store_url))
    engine = backend_of(store_url).decisions()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_the_newest_step_is_the_one_that_the_tables_name():
    folder = Path(sqlite.__file__).with_name("migrations")
    assert ScriptDirectory(str(folder)).get_heads() == [REVISION]


def test_audit_rows_older_than_origins_have_an_empty_origin(first_release, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO audit VALUES (5, 1.5, 'operator', 'ban 192.0.2.1/32')")
        connection.commit()
    asyncio.run(opened_and_closed(f"sqlite:///{path}"))
    assert ask(path, "SELECT * FROM audit") == [(5, 1.5, "operator", "ban 192.0.2.1/32", "")]


def test_the_tables_of_keys_take_large_numbers_and_no_digest_twice(store_url):
    asyncio.run(opened_and_closed(store_url))
    engine = backend_of(store_url).decisions()
    key: dict[str, Any] = {
        "name": "n",
        "created_at": 1.0,
        "created_by": "cli",
        "rate": 0.0,
        "models": "",
    }
    large = 2**62
    with Session(engine) as session:
        session.add(IssuedKeyRow(id="k1", digest="aa", quota=large, quota_tokens=large, **key))
        session.add(UseRow(key="k1", day="2026-11-21", model="m", basis="usage", cost=large))
        session.add(LedgerBatchRow(process="p", seq=large, at=1.0))
        session.add(SecretRow(name="pepper", value="00"))
        session.commit()
        assert session.exec(select(UseRow.cost, UseRow.requests)).all() == [(large, 0)]
        session.add(IssuedKeyRow(id="k2", digest="aa", **key))
        with pytest.raises(IntegrityError):
            session.commit()
    engine.dispose()


async def test_a_store_of_the_first_release_is_adopted_without_loss(first_release, caplog):
    caplog.set_level(logging.INFO, "monitor.store")
    store = await Store.open(f"sqlite:///{first_release}")
    ban = Ban("b1", "192.0.2.1/32", 1, None, "r", "operator", "curl", 1)
    assert await store.active_bans(2.0) == [ban]
    assert await store.wishes() == {"hk": (Override.drain, None)}
    known = await store.read(lambda session: queries.last_states(session, "here"))
    assert known == {
        "hk": Transition("hk", 5.5, State.down, "tls_reset", Code.as_written(text="why"), "here")
    }
    last = await store.read(lambda session: queries.last_sample(session, "hk", "here"))
    assert last == NOW - 600 + 19 * 15
    day = (await store.read(lambda session: read_windows(session, NOW)))["hk"]["24h"]
    assert (day.up, day.down, day.unknown) == (17 * 15_000, 2 * 15_000, 86_200_000 - 19 * 15_000)
    curve = (await store.read(lambda session: Curves().read(session, NOW)))["hk"]["24h"]
    assert [point for point in curve.points if point] == [(0, 2, 0, 0)]  # of 1500, 2 and 3 µs
    store.record(Transition("hk", 6.5, State.up, vantage="here"))
    assert await store.flush()
    await store.close()
    assert ask(first_release, "SELECT max(id) FROM transition") == [(8,)]
    assert "a copy as it was before is" in caplog.text


def test_before_the_schema_changes_the_file_is_copied_privately(first_release, path):
    before = list(closing_dump(path))
    asyncio.run(opened_and_closed(f"sqlite:///{path}"))
    (copy,) = path.parent.glob("store.db.schema-0001-*")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert list(closing_dump(copy)) == before
    asyncio.run(opened_and_closed(f"sqlite:///{path}"))  # nothing is left to do: no further copy
    assert list(path.parent.glob("store.db.schema-*")) == [copy]


def closing_dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_bounded_number_of_copies_is_kept_and_the_newest_are(first_release, path):
    made = [backup.keep_copy(path, "0001") for _ in range(backup.KEPT + 2)]
    assert sorted(path.parent.glob("store.db.schema-*")) == made[-backup.KEPT :]


def test_a_step_that_fails_changes_nothing(first_release, path, monkeypatch):
    before = closing_dump(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE ledger_batch (mine)")  # the last thing that a step makes
        connection.commit()
    with pytest.raises(StoreError, match="already exists"):
        asyncio.run(Store.open(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE ledger_batch")
        connection.commit()
    assert closing_dump(path) == before
    asyncio.run(opened_and_closed(f"sqlite:///{path}"))


def test_without_room_for_the_copy_nothing_is_changed(first_release, path, monkeypatch):
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_copy", full)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="No space left"):
        asyncio.run(Store.open(f"sqlite:///{path}"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if "schema" in p.name] == []


def test_a_newer_schema_is_refused_in_one_sentence(store_url):
    asyncio.run(opened_and_closed(store_url))
    engine = backend_of(store_url).decisions()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(sqlalchemy.text("UPDATE compatibility SET oldest = '9999'"))
    engine.dispose()
    for act in (lambda: asyncio.run(Store.open(store_url)), backend_of(store_url).upgrade):
        with pytest.raises(StoreError, match=f"newer mirrorgate.*9999.*{REVISION}") as caught:
            act()
        assert "\n" not in str(caught.value)


def only_adds(step: Path) -> bool:
    """True if older instances can use the tables that a step leaves."""
    calls = re.findall(r"\bop\.(\w+)", step.read_text("utf-8"))
    return set(calls) <= {"create_table", "create_index", "add_column"}


def test_steps_that_older_instances_can_live_with_only_add():
    steps = Path(sqlite.__file__).with_name("migrations").joinpath("versions").glob("v*.py")
    judged = {step.name[1:5]: only_adds(step) for step in steps}
    assert not judged["0002"]
    assert all(adds for revision, adds in judged.items() if revision > OLDEST)
    assert OLDEST <= REVISION


def test_a_newer_schema_that_older_instances_can_use_is_used_and_told(
    postgresql: PostgresqlServer, caplog: pytest.LogCaptureFixture
):
    url = postgresql.upgraded()
    engine = backend_of(url).decisions()

    def becomes(revision: str, oldest: str) -> None:
        with engine.begin() as connection:
            for statement in (
                f"UPDATE alembic_version SET version_num = '{revision}'",
                f"UPDATE compatibility SET oldest = '{oldest}'",
            ):
                connection.execute(sqlalchemy.text(statement))

    with engine.begin() as connection:  # a step of a later version adds something
        connection.execute(sqlalchemy.text("ALTER TABLE ban ADD COLUMN more TEXT DEFAULT 'x'"))
        connection.execute(sqlalchemy.text("CREATE TABLE later (x INTEGER PRIMARY KEY)"))
    becomes("9998", REVISION)

    async def used() -> list[Ban]:
        store = await Store.open(url)
        await store.add_ban(Ban("b1", "192.0.2.1/32", 1.0, None, "r", "operator"))
        found = await store.active_bans(2.0)
        await store.close()
        return found

    assert [ban.id for ban in asyncio.run(used())] == ["b1"]
    assert f"schema 9998 of a newer mirrorgate, which this one ({REVISION}) can use" in caplog.text
    for act in (backend_of(url).upgrade, lambda: transfer(url, postgresql.fresh())):
        with pytest.raises(StoreError, match=r"newer mirrorgate.*9998"):
            act()
    becomes("9999", "9999")
    with pytest.raises(StoreError, match=r"newer mirrorgate.*9999"):
        asyncio.run(used())
    engine.dispose()


def test_the_first_release_refuses_a_file_of_this_one(path):
    asyncio.run(opened_and_closed(f"sqlite:///{path}"))
    assert ask(path, "PRAGMA user_version")[0][0] > sqlite.FIRST_RELEASE


def test_postgresql_is_not_changed_unasked(postgresql: PostgresqlServer):
    url = postgresql.fresh()
    with pytest.raises(StoreError, match="mirrorgate db upgrade") as caught:
        asyncio.run(Store.open(url))
    assert "word" not in str(caught.value)
    assert backend_of(url).upgrade() == ("", REVISION)
    assert backend_of(url).upgrade() == (REVISION, REVISION)
    asyncio.run(opened_and_closed(url))


def test_a_postgresql_database_of_something_else_is_left_alone(postgresql: PostgresqlServer):
    url = postgresql.fresh()
    engine = backend_of(url).decisions()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE sample (x integer)"))
    for act in (lambda: asyncio.run(Store.open(url)), backend_of(url).upgrade):
        with pytest.raises(StoreError, match="something else"):
            act()
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == ["sample"]
    engine.dispose()


def test_two_upgrades_at_once_wait_for_each_other(postgresql: PostgresqlServer):
    url = postgresql.fresh()
    found: list[tuple[str, str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(backend_of(url).upgrade())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [("", REVISION), (REVISION, REVISION), (REVISION, REVISION)]


def test_a_postgresql_that_is_not_there_is_told_without_the_password():
    with pytest.raises(StoreError, match="cannot be used") as caught:
        asyncio.run(Store.open("postgresql://me:secret-word@127.0.0.1:1/x"))
    assert "secret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def run(folder: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    file = folder / "config.toml"
    file.write_text(
        f"store.url = {json.dumps(url)}\n"
        '[[mirrors]]\nid = "hk"\nurl = "https://a.example"\napi_key = "env:NOT_SET_HERE"\n'
    )
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, {})
    args = main.parser().parse_args(["--config", str(file), "db", *arguments])
    try:
        code = args.run(args, console)
    except Exception as error:
        return 1, out.getvalue(), str(error)
    return code, out.getvalue(), err.getvalue()


def test_the_command_upgrades(tmp_path, first_release, postgresql: PostgresqlServer):
    sqlite_url, postgresql_url = f"sqlite:///{first_release.name}", postgresql.fresh()
    assert run(tmp_path, sqlite_url, "upgrade")[:2] == (
        0,
        f"the store has schema {REVISION} now; before it had 0001\n",
    )
    code, out, _ = run(tmp_path, postgresql_url, "upgrade", "--json")
    assert (code, json.loads(out)) == (0, {"from": None, "to": REVISION})
    assert run(tmp_path, postgresql_url, "upgrade")[:2] == (
        0,
        f"the store has schema {REVISION} already\n",
    )


async def test_a_backup_of_a_file_in_use_is_whole_private_and_never_over_another(tmp_path, path):
    store = await Store.open(f"sqlite:///{path}")
    for number in range(500):
        store.record(Transition("hk", number, State.up, vantage="here"))
    await store.flush()
    store.record(Transition("hk", 500, State.down, vantage="here"))  # not written yet
    target = tmp_path / "copy.db"
    code, out, _ = await asyncio.to_thread(
        run, tmp_path, "sqlite:///store.db", "backup", str(target)
    )
    assert code == 0
    assert str(target) in out
    assert ask(target, "SELECT count(*) FROM transition") == [(500,)]
    assert ask(target, "PRAGMA integrity_check") == [("ok",)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    again = await asyncio.to_thread(run, tmp_path, "sqlite:///store.db", "backup", str(target))
    assert again[0] == 1
    assert "is there already" in again[2]
    assert target.read_bytes() == before
    await store.close()
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
    other = await Store.open(f"sqlite:///{target}")
    assert len(await other.read(lambda s: queries.transitions(s, "hk", 1000))) == 500
    await other.close()


def test_a_backup_of_nothing_is_refused(tmp_path):
    code, _, said = run(tmp_path, "sqlite:///none.db", "backup", str(tmp_path / "copy.db"))
    assert code == 1
    assert "no such file" in said
    assert not (tmp_path / "none.db").exists()


def test_a_backup_of_postgresql_can_be_restored(tmp_path, postgresql: PostgresqlServer):
    restore = require("pg_restore")
    require("pg_dump")
    url, other = postgresql.upgraded(), postgresql.fresh()

    async def fill() -> None:
        store = await Store.open(url)
        await store.set_wish("hk", Override.drain, None, Actor("operator"), 1.0)
        await store.close()

    asyncio.run(fill())
    target = tmp_path / "copy.dump"
    code, out, said = run(tmp_path, url, "backup", str(target), "--json")
    assert (code, said) == (0, "")
    assert json.loads(out)["bytes"] == target.stat().st_size > 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    subprocess.run([restore, f"--dbname={other}", str(target)], check=True, timeout=30)

    async def wishes() -> Any:
        store = await Store.open(other)
        found = await store.wishes()
        await store.close()
        return found

    assert asyncio.run(wishes()) == {"hk": (Override.drain, None)}


def test_without_pg_dump_the_command_says_how_to_get_it(tmp_path, monkeypatch, postgresql):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, _, said = run(tmp_path, postgresql.upgraded(), "backup", str(tmp_path / "x"))
    assert code == 1
    assert "apt-get install postgresql-client" in said
    assert os.listdir(tmp_path) == ["config.toml"]
