"""Issued keys with a running instance: printed once, kept as a digest, in force until revoked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.admission.credentials import looks_issued
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("keys")
    with MirrorProcess("a", folder, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        config = {"router": {"workers": 2}, "mirrors": [table], "log": {"level": "debug"}}
        with Instance(config, folder / "instance") as instance:
            yield instance


def created(instance: Instance, *arguments: str) -> tuple[str, str]:
    """A new key, and its id."""
    ran = instance.command("keys", "create", "--name", "lab", *arguments, check=True)
    return ran.stdout.removesuffix("\n"), listed(instance)[0]["id"]


def listed(instance: Instance) -> list[dict[str, Any]]:
    ran = instance.command("keys", "list", "--json", check=True)
    keys: list[dict[str, Any]] = json.loads(ran.stdout)["keys"]
    return keys


def files_of(instance: Instance) -> bytes:
    files = [path for path in Path(instance.directory).rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


def test_a_key_is_printed_once_and_is_nowhere_else(instance: Instance):
    ran = instance.command("keys", "create", "--name", "lab", "--quota", "12.50", check=True)
    key = ran.stdout.removesuffix("\n")
    assert looks_issued(key.encode(), "mg-")
    assert key not in ran.stderr
    assert "lab" in ran.stderr
    assert ran.stderr.count("note: ") == 2, "no mirror lends its key, and nothing has a price"
    (known,) = listed(instance)
    assert (known["name"], known["left"], known["state"]) == ("lab", "12.50", "active")
    secret = key.removeprefix("mg-")
    for place in (
        files_of(instance).decode("latin-1"),
        instance.logs(),
        instance.command("keys", "list", "--use", check=True).stdout,
        instance.command("status", "--json", check=True).stdout,
        instance.command("audit", "--json", check=True).stdout,
        ask(f"{instance.admin_url}/metrics", key="").body.decode(),
    ):
        assert secret not in place
    assert known["id"].encode() in files_of(instance)


def test_a_key_is_topped_up_and_revoked_and_stays_so_after_a_restart(instance: Instance):
    _, key_id = created(instance, "--tokens", "100")
    told = instance.command("keys", "topup", key_id, "--tokens", "50", check=True)
    assert told.stdout == f"{key_id} (lab) has 150 tokens left\n"
    _, other = created(instance)
    instance.command("keys", "revoke", other, check=True)
    for _ in range(2):
        states = {key["id"]: (key["state"], key["left_tokens"]) for key in listed(instance)}
        assert (states[key_id], states[other]) == (("active", 150), ("revoked", None))
        instance.stop()
        offline = {key["id"]: key["state"] for key in listed(instance)}
        assert (offline[key_id], offline[other]) == ("active", "revoked")
        instance.start()


def test_a_key_that_was_created_while_nothing_ran_is_one(instance: Instance):
    instance.stop()
    _, key_id = created(instance)
    instance.start()
    assert listed(instance)[0]["id"] == key_id


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create",), 2, "--name"),
        (("create", "--name", ""), 2, "--name"),
        (("create", "--name", "n", "--quota", "-1"), 2, "--quota"),
        (("create", "--name", "n", "--quota", "1.0000000001"), 2, "--quota"),
        (("create", "--name", "n", "--tokens", "1.5"), 2, "--tokens"),
        (("create", "--name", "n", "--rate", "fast"), 2, "--rate"),
        (("create", "--name", "n", "--models", "a b"), 2, "--models"),
        (("create", "--name", "n", "--expires", "2020-01-01"), 2, "--expires"),
        (("create", "--name", "n", "--expires", "soon"), 2, "--expires"),
        (("list", "--days", "0"), 2, "--days"),
        (("revoke",), 2, "ID"),
        (("revoke", "k/../x"), 1, 'no key "k/../x"'),
        (("topup", "k1"), 2, "--quota or --tokens"),
        (("topup", "k1", "--quota", "1"), 1, 'no key "k1"'),
        (("lend",), 2, "there is no command"),
    ],
)
def test_a_bad_argument_is_told_in_one_sentence(
    instance: Instance, arguments: tuple[str, ...], code: int, said: str
):
    ran: subprocess.CompletedProcess[str] = instance.command("keys", *arguments)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
