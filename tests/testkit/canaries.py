"""Secrets to be looked for, keys of every kind in every carrier, and the ways to ask with them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.admission.credentials import new_key
from tests.testkit.asking import Answer, ask
from tests.testkit.instance import Instance
from tests.testkit.mirror_behaviour import Seen
from tests.testkit.mirror_process import MirrorProcess
from tests.testkit.wait import wait_until

OWN = "sk-own-CanaryOfACallersKey0123456789"
LENT = {"alpha": "lent-CanaryOfTheMirrorAlpha", "beta": "lent-CanaryOfTheMirrorBeta"}
TOKEN = "CanaryOfTheMetricsToken0123456789"
TEXT, QUERY = "CanaryOfAQuestion", "CanaryOfAQuery"
CARRIERS = ("authorization", "api-key", "x-api-key", "mj-api-secret", "subprotocol")


@dataclass
class Place:
    """Alpha takes callers' own keys of its kind besides; both lend theirs."""

    instance: Instance
    mirrors: dict[str, MirrorProcess]
    keys: dict[str, str]
    """Issued ones: a good one, and the wrong ones by what is wrong with them."""

    def logs(self) -> str:
        return self.instance.logs()

    def seen(self, mark: str) -> list[tuple[str, Seen]]:
        """The requests with this mark that reached a mirror, with its name."""
        return [
            (name, seen)
            for name, mirror in self.mirrors.items()
            for seen in mirror.seen()
            if seen.header("x-test-id") == mark
        ]

    def secrets(self) -> set[str]:
        """Texts that must not be found; of issued keys any longer piece is too much."""
        issued = {key[4:24] for key in self.keys.values()}
        return {OWN, *LENT.values(), TOKEN, TEXT, QUERY} | issued


def config_for(mirrors: Mapping[str, MirrorProcess], kept: Path, access: Path) -> dict[str, Any]:
    for name, secret in {**LENT, "token": TOKEN}.items():
        (kept / f"{name}.key").write_text(f"{secret}\n")
    tables = [
        {
            "id": name,
            "url": mirror.base_url,
            "addresses": ["127.0.0.1"],
            "client_keys": ["sk-own-*"] if name == "alpha" else [],
            "api_key": f"file:{kept / name}.key",
        }
        for name, mirror in mirrors.items()
    ]
    return {
        "router": {"workers": 2, "ejection": {"max_percent": 0}},
        "limits": {"connections": 4, "requests_per_second": 0},
        "monitor": {"interval": 1},
        "admin": {"metrics_token": f"file:{kept / 'token.key'}"},
        "log": {"level": "debug", "access": str(access)},
        "prices": {"gpt-4o": {"input": 1}},
        "mirrors": tables,
    }


def created(instance: Instance, *arguments: str) -> tuple[str, str]:
    """A new key, and its id."""
    ran = instance.command("keys", "create", "--name", "n", "--json", *arguments, check=True)
    made = json.loads(ran.stdout)
    return made["key"], made["id"]


def keys_of(instance: Instance) -> dict[str, str]:
    """A good key, and every kind of wrong one."""
    good, _ = created(instance, "--quota", "1000")
    plain, _ = created(instance)
    revoked, revoked_id = created(instance)
    instance.command("keys", "revoke", revoked_id, check=True)
    mistyped = plain[:-1] + ("a" if plain[-1] != "a" else "b")
    keys = {"limited": good, "good": plain, "revoked": revoked, "mistyped": mistyped}
    keys |= {"unknown": new_key("mg-"), "expired": created(instance, "--expires", "1s")[0]}
    models = f"{instance.base_url}/v1/models"
    wait_until(lambda: ask(models, key=keys["expired"]).status == 401, 20, "a key to expire")
    return keys


def carried(carrier: str, key: str) -> dict[str, str]:
    """The field that carries a key."""
    if carrier == "subprotocol":
        return {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{key}"}
    return {carrier: f"Bearer {key}" if carrier == "authorization" else key}


def talk(place: Place, headers: Mapping[str, str], path: str = "", **body: object) -> Answer:
    """Ask for a chat completion."""
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": TEXT}], **body}
    url = f"{place.instance.base_url}/v1/chat/completions{path}?q={QUERY}"
    return ask(url, asked, key="", headers=headers)


def handshake(place: Place, headers: Mapping[str, str]) -> bytes:
    """Open a WebSocket, say something, and return what came of it."""
    host, _, port = place.instance.config["router"]["listen"].rpartition(":")
    fields = {
        "host": host,
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    target = f"/v1/realtime?model=gpt-realtime&q={QUERY}"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    event = json.dumps({"type": "session.update", "text": TEXT}).encode()
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode())
        got = client.recv(65536)
        if b" 101 " in got:
            client.sendall(bytes((0x81, 0x80 | len(event), 0, 0, 0, 0)) + event)
            got += client.recv(65536)
        return got


def all_ways(place: Place, carrier: str, key: str, mark: str, **fields: str) -> list[bytes]:
    """Answers as the client gets them, whole: plain, streamed, compressed, over a WebSocket."""
    headers = {**carried(carrier, key), **fields, "x-test-id": mark}
    if carrier == "subprotocol":
        return [handshake(place, headers)]
    packed = headers | {"accept-encoding": "gzip", "x-test-behaviour": '{"compress": true}'}
    answers = [
        talk(place, headers),
        talk(place, headers, stream=True),
        talk(place, packed),
        talk(place, packed, stream=True),
    ]
    with suppress(http.client.IncompleteRead):
        answers.append(talk(place, headers | {"x-test-behaviour": '{"cut_after": 2}'}))
    told = [repr((each.status, each.headers)).encode() + each.body for each in answers]
    return [*told, handshake(place, headers)]
