"""An instance moves from SQLite to PostgreSQL as docs/operations.md says, and goes on."""

import json
from pathlib import Path

import pytest

from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.postgresql import PostgresqlServer

pytestmark = pytest.mark.prove


def test_keys_bans_and_wishes_move_along(tmp_path: Path, postgresql: PostgresqlServer):
    environment = {"MIRRORGATE_STORE": postgresql.fresh()}
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "api_key": "env:MIRROR_KEY"}
        environment["MIRROR_KEY"] = TEST_KEY
        base = {"router": {"workers": 1}, "mirrors": [table, {**table, "id": "b"}]}
        socket = str(tmp_path / "s")
        before = Instance({**base, "admin": {"socket": socket}}, tmp_path / "i", env=environment)
        with before:
            made = before.command("keys", "create", "--name", "bob", "--json", check=True)
            key = json.loads(made.stdout)["key"]
            assert ask(f"{before.base_url}/v1/models", key=key).status == 200
            before.command("bans", "add", "192.0.2.9", check=True)
            before.command("drain", "b", check=True)
            early = before.command("db", "copy", "env:MIRRORGATE_STORE")
            assert early.returncode == 1
            assert "stop it first" in early.stderr
        before.command("db", "copy", "env:MIRRORGATE_STORE", check=True)
        moved = {**base, "admin": {"socket": socket}, "store": {"url": "env:MIRRORGATE_STORE"}}
        after = Instance(moved, tmp_path / "i", env=environment)
        doctor = after.command("doctor")
        assert doctor.returncode == 0, doctor.stdout
        with after:
            assert ask(f"{after.base_url}/v1/models", key=key).status == 200
            assert "192.0.2.9" in after.command("bans", "list", check=True).stdout
            assert "no (drain)" in after.command("status", check=True).stdout
            after.command("db", "backup", str(tmp_path / "copy.dump"), check=True)
            assert "process" in after.command("doctor", check=True).stdout
