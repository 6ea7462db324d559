"""Mirrors that are down by their probes, when no other is left: the least bad are tried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.health.snapshot import (
    HealthSnapshot,
    MirrorHealth,
    Override,
    PathHealth,
    Standing,
    State,
)
from tests.testkit.data_plane import DataPlane
from tests.testkit.http_client import CHAT, ask
from tests.testkit.instance import Instance
from tests.testkit.instance_output import states
from tests.testkit.ports import free_port
from tests.testkit.raw_http import OK, Script, ScriptedMirror, answering, get, post, read_request
from tests.testkit.wait import wait_until

FALLBACKS = "mirrorgate_fallback_attempts"
OVERLOADED = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


def down(name: str, verdict: str) -> MirrorHealth:
    """A mirror that probes call down for this reason."""
    return MirrorHealth(name, State.down, verdict=verdict, last_probe=1.0)


def learn(plane: DataPlane, *mirrors: MirrorHealth) -> None:
    """Give the plane a new snapshot."""
    plane.context.learn(HealthSnapshot(1, 1.0, "test", {mirror.id: mirror for mirror in mirrors}))


async def three(stack: AsyncExitStack, scripts: Mapping[str, Script]) -> DataPlane:
    """A plane before mirrors with these scripts."""
    mirrors = [
        await stack.enter_async_context(ScriptedMirror(script, name))
        for name, script in scripts.items()
    ]
    return await stack.enter_async_context(DataPlane([mirror.table() for mirror in mirrors]))


@pytest.mark.parametrize("verdict", ["http_diff", "upstream_overloaded", "http_eof"])
async def test_while_no_mirror_is_in_rotation_one_that_is_reached_is_tried(verdict: str) -> None:
    async with AsyncExitStack() as stack:
        plane = await three(stack, dict.fromkeys("abc", answering(OK)))
        learn(plane, *(down(name, verdict) for name in "abc"))
        ready = await plane.ask(get("/readyz"))
        assert (ready.status, json.loads(ready.body)["last_resort"]) == (200, 3)
        assert [(await plane.ask(post())).status for _ in range(3)] == [200] * 3
        assert sum(plane.totals.get(FALLBACKS, (name,)) for name in "abc") == 3


async def test_the_least_bad_is_tried_first_and_another_one_when_it_fails() -> None:
    scripts = {"a": answering(OK), "b": answering(OVERLOADED), "c": answering(OK)}
    async with AsyncExitStack() as stack:
        plane = await three(stack, scripts)
        silent, answers = down("a", "http_timeout"), down("b", "http_diff")
        learn(plane, silent, answers, down("c", "upstream_overloaded"))
        told = [(await plane.ask(post()))["x-mirrorgate-mirror"] for _ in range(4)]
        assert told == ["c"] * 4
        learn(plane, silent, answers, down("c", "connection_refused"))
        assert (await plane.ask(post())).status == 503, "none that answered nothing comes second"
        assert plane.totals.get(FALLBACKS, ("a",)) == 0
        refuses = "connection_refused"
        learn(plane, silent, down("b", refuses), down("c", refuses))
        assert (await plane.ask(post()))["x-mirrorgate-mirror"] == "a"


@pytest.mark.parametrize(
    "health",
    [
        down("a", "ssl_invalid_hostname"),
        down("a", "cert_expired"),
        down("a", "tls_mitm"),
        down("a", "connection_refused"),
        replace(down("a", "http_diff"), wish=Override.drain),
        replace(down("a", "http_diff"), wish=Override.maintenance),
    ],
    ids=lambda health: f"{health.verdict} {health.wish}",
)
async def test_some_mirrors_are_no_resort_at_all(health: MirrorHealth) -> None:
    async with AsyncExitStack() as stack:
        plane = await three(stack, {"a": answering(OK)})
        learn(plane, health)
        assert (await plane.ask(post())).status == 503
        assert (await plane.ask(get("/readyz"))).status == 503


def cut_off(plane: DataPlane, verdict: str, held: bool) -> None:
    """Its handshakes are cut off; `held`: its address is left alone."""
    (upstream,) = plane.context.upstreams
    path = PathHealth("127.0.0.1", "127.0.0.1", Standing.suspected, not held, verdict)
    health = replace(down("a", verdict), paths=(path,))
    quarantine = {f"127.0.0.1:{upstream.mirror.port}": plane.context.wall() + 600} if held else {}
    plane.context.learn(HealthSnapshot(1, 1.0, "test", {"a": health}, quarantine))


async def test_connections_that_are_open_are_used_while_the_address_is_left_alone() -> None:
    async with AsyncExitStack() as stack:
        plane = await three(stack, {"a": answering(OK)})
        assert (await plane.ask(post())).status == 200
        cut_off(plane, "unknown", held=True)
        assert [(await plane.ask(post())).status for _ in range(3)] == [200] * 3
        (upstream,) = plane.context.upstreams
        upstream.close_idle()
        assert (await plane.ask(post())).status == 503, "no new one is opened"
        assert upstream.breaker.closed, "which says nothing against it"


async def test_where_every_name_is_cut_off_one_request_tries_and_others_follow_if_it_works() -> (
    None
):
    async with AsyncExitStack() as stack:
        mirror = await stack.enter_async_context(ScriptedMirror(answering(OK), "a"))
        plane = await stack.enter_async_context(DataPlane([mirror.table()]))
        cut_off(plane, "sni_block_rst", held=False)
        assert (await plane.ask(get("/readyz"))).status == 503
        assert [(await plane.ask(post())).status for _ in range(3)] == [200] * 3
        (upstream,) = plane.context.upstreams
        assert upstream.trials.may(plane.context.clock())


async def test_where_every_name_is_cut_off_and_a_trial_fails_the_next_one_waits() -> None:
    port = free_port()  # nobody listens there
    table = {"id": "a", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
    async with DataPlane([table]) as plane:
        cut_off(plane, "sni_block_rst", held=False)
        assert [(await plane.ask(post())).status for _ in range(2)] == [502, 503]
        (upstream,) = plane.context.upstreams
        assert not upstream.trials.may(plane.context.clock())


@pytest.mark.parametrize(
    ("wish", "tried"),
    [(Override.use, "b"), (Override.drain, "a")],
    ids=["wanted", "not wanted"],
)
async def test_a_name_that_is_cut_off_is_not_shown_where_another_mirror_has_the_same_address(
    wish: Override, tried: str
) -> None:
    async with ScriptedMirror(answering(OK), "a") as mirror:
        tables = [mirror.table(id=name, url=f"http://{name}.test:{mirror.port}") for name in "ab"]
        async with DataPlane(tables) as plane:
            blocked = PathHealth("a.test", "127.0.0.1", Standing.held, False, "sni_block_rst")
            doubtful = PathHealth("b.test", "127.0.0.1", Standing.suspected, True, "tls_reset")
            learn(
                plane,
                replace(down("a", "sni_block_rst"), paths=(blocked,)),
                replace(down("b", "tls_reset"), paths=(doubtful,), wish=wish),
            )
            answers = [await plane.ask(post()) for _ in range(3)]
            assert [answer["x-mirrorgate-mirror"] for answer in answers] == [tried] * 3


async def test_a_mirror_that_is_down_is_left_alone_while_another_one_fits() -> None:
    async with AsyncExitStack() as stack:
        plane = await three(stack, {"a": answering(OVERLOADED), "b": answering(OK)})
        learn(plane, MirrorHealth("a", State.up, last_probe=1.0), down("b", "http_diff"))
        assert (await plane.ask(post())).status == 503
        assert plane.totals.get(FALLBACKS, ("b",)) == 0


def chatting(models: bytes) -> Script:
    """A mirror that answers chats, and this to `GET /v1/models`."""

    async def script(reader, writer) -> None:
        while True:
            head, _ = await read_request(reader)
            writer.write(models if head.startswith(b"GET") else OK)
            await writer.drain()

    return script


def _page(status: int, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


LISTS = {
    "html": _page(200, "text/html", b"<html>welcome</html>"),
    "text": _page(200, "text/plain", b"hello"),
    "error": _page(500, "application/json", b'{"error": {"message": "no", "type": "x"}}'),
}


# Each kind starts an instance of its own, which takes seconds: two are for the long runs.
@pytest.mark.parametrize(
    "kind", ["error", *(pytest.param(kind, marks=pytest.mark.prove) for kind in ("html", "text"))]
)
async def test_mirrors_whose_chats_are_answered_are_not_down_whatever_they_list(
    kind: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        mirrors = [
            await stack.enter_async_context(ScriptedMirror(chatting(LISTS[kind]), name))
            for name in "ab"
        ]
        config = {
            "router": {"workers": 1},
            "monitor": {"interval": "300ms"},
            "mirrors": [mirror.table(allow_private=True) for mirror in mirrors],
        }
        await asyncio.to_thread(_serve_though_down, config, tmp_path)


def _serve_though_down(config: dict[str, object], directory: Path) -> None:
    with Instance(config, directory) as instance:
        wait_until(lambda: set(states(instance).values()) == {"down"}, 30, "both to be down")
        wait_until(lambda: "no mirror is in rotation" in instance.logs(), 20, "the log")
        health = ask(f"{instance.dashboard_url}/api/v1/health", key="").json()
        assert health["last_resort"] is True

        def all_degraded() -> bool:
            assert ask(f"{instance.base_url}/v1/chat/completions", CHAT).status == 200
            return set(states(instance).values()) == {"degraded"}

        wait_until(all_degraded, 30, "both to be in rotation again by what they serve")
        wait_until(lambda: "a mirror is in rotation again" in instance.logs(), 20, "the log")
