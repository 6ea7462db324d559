"""The legacy interface of a running instance with two workers."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.testkit.instance import Instance
from tests.testkit.instance_output import traces
from tests.testkit.legacy import EchoMirror, Json, answering, message, plain
from tests.testkit.raw_http import RawClient, Response, ScriptedMirror
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.e2e

SESSIONS, TURNS = 100, 4
KEY, OTHER = "sk-CanaryInTheUrl0123456789", "sk-CanaryInTheBody0123456789"
WORDS, TOKEN = "CanaryOfAConversation", "CanaryOfTheMetricsToken"


@asynccontextmanager
async def running(
    mirror: EchoMirror, folder: Path, lent: str = "", **more: Any
) -> AsyncIterator[Instance]:
    """An instance before this mirror, which lends this key."""
    async with ScriptedMirror(mirror.script) as scripted:
        config = {
            "router": {"workers": 2, "legacy": True},
            "monitor": {"interval": "1h"},
            "log": {"level": "debug", "access": str(folder / "access.log")},
            "admin": {"metrics_token": TOKEN},
            "mirrors": [scripted.table(allow_private=True, api_key=lent)],
            **more,
        }
        instance = Instance(config, folder)
        try:
            await asyncio.to_thread(instance.start)
            yield instance
        finally:
            await asyncio.to_thread(instance.close)


async def ask(instance: Instance, request: bytes) -> Response:
    """The response to this request, on a connection of its own."""
    client = RawClient(
        *await asyncio.open_connection("127.0.0.1", urlsplit(instance.base_url).port)
    )
    try:
        await client.send(request)
        return await client.response()
    finally:
        await client.close()


async def say(instance: Instance, content: str, session: str = "s", key: str = OTHER) -> Json:
    answer = await ask(instance, message(content, session, key))
    assert answer.status == 200, answer.body
    told: Json = json.loads(answer.body)
    return told


async def talk(instance: Instance, session: int) -> list[str]:
    """A conversation; what the router said."""
    turns = [f"{session}/{turn}" for turn in range(TURNS)]
    return [(await say(instance, text, f"s{session}"))["data"] for text in turns]


async def test_a_hundred_sessions_in_parallel_do_not_leak_a_word(tmp_path: Path):
    mirror = EchoMirror()
    async with running(mirror, tmp_path) as instance:
        said = await asyncio.gather(*(talk(instance, session) for session in range(SESSIONS)))
        for session, answers in enumerate(said):
            assert answers == [f"echo {session}/{turn}" for turn in range(TURNS)]
        by_session: dict[str, list[list[str]]] = {}
        for messages in mirror.said:
            by_session.setdefault(messages[-1].partition("/")[0], []).append(messages)
        assert len(by_session) == SESSIONS
        for name, requests in by_session.items():
            expected: list[str] = []
            for turn, messages in enumerate(requests):
                expected.append(f"{name}/{turn}")
                assert messages == expected
                expected.append(f"echo {name}/{turn}")


async def test_messages_of_one_session_run_one_after_the_other_over_both_workers(tmp_path: Path):
    mirror, names = EchoMirror(), map(str, itertools.count())
    async with running(mirror, tmp_path) as instance:

        async def both_were_asked() -> bool:
            await asyncio.gather(*(say(instance, next(names)) for _ in range(10)))
            lines = (tmp_path / "access.log").read_text().splitlines()
            return {line.split()[2] for line in lines} == {"worker-0:", "worker-1:"}

        await wait_until_async(both_were_asked, 60, "messages to both workers")
        whole = mirror.said[-1]
        assert sorted(map(int, whole[::2])) == list(range(len(mirror.said)))
        assert whole[1::2] == [f"echo {text}" for text in whole[:-1:2]]
        for turn, messages in enumerate(mirror.said):
            assert messages == whole[: 2 * turn + 1], "each began when the one before had ended"


async def test_a_dead_worker_takes_no_context_along_and_a_restart_says_that_all_are_lost(
    tmp_path: Path,
):
    mirror = EchoMirror()
    mirror.held["held"] = asyncio.Event()
    async with running(mirror, tmp_path) as instance:
        await say(instance, "one")
        asking = asyncio.create_task(ask(instance, message("held", key=OTHER)))
        await wait_until_async(lambda: mirror.said[-1][-1] == "held")
        for worker in instance.workers():
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asking
        await asyncio.to_thread(instance.wait_ready)
        assert (await say(instance, "two"))["context"] == "kept"
        assert mirror.said[-1] == ["one", "echo one", "two"]

        await asyncio.to_thread(instance.stop)
        await asyncio.to_thread(instance.start)
        told = await say(instance, "three")
        assert (told["code"], told["context"]) == (200, "new")
        assert mirror.said[-1] == ["three"]


async def test_a_control_process_that_dies_costs_the_contexts_only(tmp_path: Path):
    mirror = EchoMirror()
    async with running(mirror, tmp_path) as instance:
        await say(instance, "one")
        old = instance.control().pid
        os.kill(old, signal.SIGKILL)
        told = await say(instance, "two")
        assert (told["data"], told["context"]) == ("echo two", "new")

        async def kept() -> bool:
            return bool((await say(instance, "again"))["context"] == "kept")

        await wait_until_async(kept, 30, "the new control process to keep contexts")
        assert instance.control().pid != old
        assert mirror.said[-1][0] != "one"


async def test_an_issued_key_is_told_from_the_ledger_what_it_has_left(tmp_path: Path):
    mirror = EchoMirror()
    prices = {"gpt-3.5-turbo": [{"from": "2020-01-01", "input": 10, "output": 30}]}
    async with running(mirror, tmp_path, "sk-lent", prices=prices) as instance:
        ran = await asyncio.to_thread(
            instance.command, "keys", "create", "--name", "a", "--quota", "18", check=True
        )
        key = ran.stdout.strip()
        used = {"prompt_tokens": 5000, "completion_tokens": 1000, "total_tokens": 6000}
        mirror.instead.append(
            answering({"choices": [{"message": {"content": "hi"}}], "usage": used})
        )
        assert (await say(instance, "hello", key=key))["data"] == "hi"

        async def balance() -> Json | None:
            answer = await ask(instance, plain("/pro/balance", f"Authorization: Bearer {key}"))
            told: Json = json.loads(answer.body)["data"]
            return told if told["used"] else None

        told = await wait_until_async(balance, what="the use to be in the ledger")
        assert told == {"total": 18, "balance": 17.92, "used": 0.08}
        bearer = f"Authorization: Bearer {key}"
        for root in ("", "/v1"):
            page = f"{root}/dashboard/billing/usage"
            answer = await ask(instance, plain(page, bearer))
            document = json.loads(answer.body)
            assert document["total_usage"] == 8
            (day,) = document["daily_costs"]
            assert day["line_items"] == [{"name": "gpt-3.5-turbo", "cost": 8}]
            answer = await ask(instance, plain(f"{page}?end_date=2026-01-01", bearer))
            assert json.loads(answer.body)["total_usage"] == 0


async def test_neither_a_key_nor_a_word_is_left_anywhere(tmp_path: Path):
    mirror = EchoMirror()
    bills = {"hard_limit_usd": 18.0, "total_usage": 8}
    async with running(mirror, tmp_path) as instance:
        mirror.instead += [answering(bills)] * 2
        balance = plain(f"/pro/balance?apiKey={KEY}", f"Referer: http://x/?apiKey={KEY}")
        answer = await ask(instance, balance)
        assert b'"balance": 17.92' in answer.body
        wrong = plain(f"/pro/balance/?apiKey={KEY}")
        assert (await ask(instance, wrong)).status == 404
        mirror.instead.append(answering({}, "500 Internal Server Error"))
        assert (await ask(instance, balance)).status >= 500
        await say(instance, WORDS)
        assert (await say(instance, "and?"))["context"] == "kept"
        found = await asyncio.to_thread(lambda: list(traces(instance, TOKEN)))
        found.append(("the log", instance.logs().encode()))
        assert any(b"legacy_balance" in data for _, data in found), "it is counted"
        assert any(b"/v1/dashboard/billing/usage" in data for _, data in found), "and logged"
        for secret in (KEY, OTHER, WORDS):
            assert not [name for name, data in found if secret.encode() in data]
