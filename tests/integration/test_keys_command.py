"""`mirrorgate keys` on the file of an instance that does not run, and where that is not safe."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from monitor.store import audit
from monitor.store.lease import Holder
from monitor.store.store import Store
from router.admission.credentials import looks_issued
from router.cli import main
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console
from tests.testkit.postgresql import PostgresqlServer


class Folder:
    """A configuration whose instance does not run."""

    def __init__(self, path: Path, url: str = "sqlite:///store.db") -> None:
        self.path = path
        self.store = f"sqlite:///{path / 'store.db'}"
        self.config = path / "config.toml"
        self.config.write_text(
            f"store.url = {json.dumps(url)}\nkeys.prefix = 'lab-'\n"
            '[[mirrors]]\nid = "hk"\nurl = "https://a.example"\napi_key = "env:NOT_SET_HERE"\n'
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        out, err = io.StringIO(), io.StringIO()
        args = main.parser().parse_args(["--config", str(self.config), "keys", *arguments])
        try:
            code = args.run(args, Console(out, err, {}))
        except CommandFailed as error:
            return error.code, out.getvalue(), f"{error}\n"
        return code, out.getvalue(), err.getvalue()

    def listed(self) -> list[dict[str, Any]]:
        code, out, _ = self.run("list", "--json")
        assert code == DONE
        keys: list[dict[str, Any]] = json.loads(out)["keys"]
        return keys


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_key_is_printed_once_alone_on_standard_output(folder: Folder):
    limits = ("--quota", "12.50", "--tokens", "2000000", "--rate", "5", "--models", "gpt-4o*,o3")
    code, out, err = folder.run("create", "--name", "学生", *limits, "--expires", "2030-12-31")
    key = out.removesuffix("\n")
    assert (code, looks_issued(key.encode(), "lab-")) == (DONE, True)
    assert key not in err
    assert err.count("\n") == 1
    for told in ("学生", "12.50 and 2000000 tokens", "5/s", "gpt-4o*, o3", "2031-01-01T00:00:00Z"):
        assert told in err
    (listed,) = folder.listed()
    assert listed["models"] == ["gpt-4o*", "o3"]
    assert key not in folder.run("list")[1]
    files = b"".join(file.read_bytes() for file in folder.path.iterdir())
    assert key.removeprefix("lab-").encode() not in files
    assert stat.S_IMODE((folder.path / "store.db").stat().st_mode) == 0o600


def test_a_key_can_be_had_as_json(folder: Folder):
    code, out, err = folder.run("create", "--name", "n", "--json")
    made = json.loads(out)
    assert (code, err, looks_issued(made["key"].encode(), "lab-")) == (DONE, "", True)
    assert (made["state"], made["quota"], made["expires_at"]) == ("active", None, None)


def test_keys_are_listed_topped_up_and_revoked(folder: Folder):
    assert folder.run("list") == (DONE, "no keys have been issued\n", "")
    assert not (folder.path / "store.db").exists(), "to look changes nothing"
    folder.run("create", "--name", "first", "--quota", "1")
    folder.run("create", "--name", "second")
    second, first = (key["id"] for key in folder.listed())
    assert folder.run("topup", first, "--quota", "0.25")[:2] == (
        DONE,
        f"{first} (first) has 1.25 left\n",
    )
    assert folder.run("revoke", second)[:2] == (DONE, f"{second} (second) is revoked\n")
    code, out, _ = folder.run("list")
    header, *rows = out.splitlines()
    assert (code, header.split()[:3]) == (DONE, ["KEY", "NAME", "STATE"])
    assert [row.split()[:3] for row in rows] == [
        [second, "second", "revoked"],
        [first, "first", "active"],
    ]
    assert folder.run("list", "--use")[1] == "nothing was used in the last 30 days\n"
    assert json.loads(folder.run("topup", first, "--quota", "1", "--json")[1])["left"] == "2.25"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("revoke", "k1"), FAILED, 'there is no key "k1": see `mirrorgate keys list`'),
        (("topup", "k1", "--tokens", "1"), FAILED, 'there is no key "k1"'),
        (("topup", "ID", "--tokens", "1"), FAILED, "has no token quota, so there is nothing"),
        (("topup", "ID"), USAGE, "give an amount"),
    ],
)
def test_an_impossible_command_fails_with_one_sentence(
    folder: Folder, arguments: tuple[str, ...], code: int, said: str
):
    folder.run("create", "--name", "n", "--quota", "1")
    known = folder.listed()
    arguments = tuple(known[0]["id"] if each == "ID" else each for each in arguments)
    ended, out, err = folder.run(*arguments)
    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
    assert folder.listed() == known


def test_the_operator_is_in_the_audit_log(folder: Folder):
    folder.run("create", "--name", "n")

    async def entries() -> list[audit.Entry]:
        store = await Store.open(folder.store)
        found = await store.read(lambda session: audit.newest(session, 10))
        await store.close()
        return found

    (entry,) = asyncio.run(entries())
    assert entry.what.startswith("create key k")
    assert (entry.origin, bool(entry.who)) == (f"the store itself (pid {os.getpid()})", True)


def test_while_an_instance_holds_the_store_nothing_is_done_behind_its_back(folder: Folder):
    folder.run("create", "--name", "n", "--quota", "1")
    (known,) = folder.listed()

    async def meanwhile(holder: Holder) -> list[tuple[int, str, str]]:
        store = await Store.open(folder.store)
        await store.hold("here", holder)
        acts = (
            ("create", "--name", "m"),
            ("revoke", known["id"]),
            ("topup", known["id"], "--quota", "1"),
            ("list",),
        )
        ended = [await asyncio.to_thread(folder.run, *act) for act in acts]
        await store.close()
        return ended

    for holder in (Holder.of_process(os.getppid()), Holder("elsewhere", 7, "1", "other-host")):
        for code, out, err in asyncio.run(meanwhile(holder)):
            assert (code, out) == (FAILED, "")
            assert "uses the store, but does not answer here" in err
    assert folder.listed() == [known]


def test_an_instance_that_was_killed_does_not_hold_the_store(folder: Folder):
    async def hold_and_die() -> None:
        store = await Store.open(folder.store)
        here = Holder.of_process(os.getpid())
        await store.hold("here", Holder(here.machine, 2**22 + 1, "1", here.host))
        store._holder = None  # it could not say that it ends
        await store.close()

    asyncio.run(hold_and_die())
    assert folder.run("create", "--name", "n")[0] == DONE


def test_in_postgresql_only_the_instance_changes_keys(tmp_path: Path, postgresql: PostgresqlServer):
    folder = Folder(tmp_path, postgresql.upgraded())
    for act in (("list",), ("create", "--name", "n")):
        code, out, err = folder.run(*act)
        assert (code, out) == (FAILED, "")
        assert "no instance is running" in err
        assert "mirrorgate run" in err
