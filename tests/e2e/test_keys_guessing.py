"""Guessing keys gets a client banned; having one does not, whatever else it mistypes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from router.admission.credentials import new_key
from tests.testkit.http_client import Answer, chat
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

VIOLATIONS = 3
BAN = {"violations": VIOLATIONS, "within": "60s", "for": "1h"}
FORGETFUL, HONEST = "203.0.113.8", "203.0.113.9"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    directory = tmp_path_factory.mktemp("guessing")
    with MirrorProcess("a", directory, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        config: dict[str, Any] = {
            "router": {"workers": 2, "callers": ["issued"], "trusted_proxies": ["127.0.0.1/32"]},
            "limits": {"ban": BAN},
            "mirrors": [table | {"api_key": TEST_KEY}],
        }
        with Instance(config, directory / "instance") as instance:
            yield instance


def asked(instance: Instance, client: str, key: str) -> Answer:
    headers = {"X-Forwarded-For": client, "User-Agent": "guess/1.0"}
    return chat(instance.base_url, key=key, headers=headers)


def bans(instance: Instance) -> list[dict[str, Any]]:
    listed = instance.command("bans", "list", "--json", check=True)
    found: list[dict[str, Any]] = json.loads(listed.stdout)["bans"]
    return found


def created(instance: Instance) -> str:
    return instance.command("keys", "create", "--name", "n", check=True).stdout.strip()


def mistyped() -> str:
    key = new_key("mg-")
    return key[:-1] + ("a" if key[-1] != "a" else "b")


@pytest.mark.parametrize(
    ("client", "guess"),
    [
        pytest.param("203.0.113.5", lambda: new_key("mg-"), id="with a valid checksum"),
        pytest.param("203.0.113.6", mistyped, id="with a wrong one"),
        pytest.param("203.0.113.7", lambda: "sk-whatever", id="of another kind"),
    ],
)
def test_a_client_that_guesses_keys_is_banned_and_a_right_one_does_not_help_then(
    instance: Instance, client: str, guess: Any
):
    good, codes = created(instance), set()

    def banned() -> bool:
        codes.add(asked(instance, client, guess()).error["code"])
        return "client_banned" in codes

    wait_until(banned, 40, "the ban")
    assert codes == {"invalid_api_key", "client_banned"}
    assert asked(instance, client, good).error["code"] == "client_banned"
    (ban,) = (each for each in bans(instance) if each["network"] == f"{client}/32")
    assert (ban["reason"], ban["by"]) == ("invalid_api_key", "automatic")
    assert asked(instance, HONEST, good).status == 200


def test_to_forget_the_key_is_no_guess(instance: Instance):
    seconds: set[int] = set()

    def goes_on() -> bool:
        assert asked(instance, FORGETFUL, "").error["code"] == "invalid_api_key"
        seconds.add(int(time.time()))
        return len(seconds) > VIOLATIONS + 1

    wait_until(goes_on, 40, "seconds enough for a ban")
    key = created(instance)
    wait_until(lambda: asked(instance, HONEST, key).status == 200, 20, "a key to be known")
    assert asked(instance, FORGETFUL, key).status == 200
    assert f"{FORGETFUL}/32" not in [each["network"] for each in bans(instance)]
