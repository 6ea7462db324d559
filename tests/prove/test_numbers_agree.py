"""Metrics, mirrors, ledger and clients tell the same story, whatever fails and is replaced."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.prove.conftest import Measure
from tests.scenarios.metered_calls import charged, create
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.instance_output import metric
from tests.testkit.instance_processes import kill_control
from tests.testkit.mirror.behaviour import Behaviour, Record, Seen
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

REQUESTS = 10_000
AT_ONCE = 16
CHAT = "/v1/chat/completions"
MODEL = "gpt-4o"
OUTCOMES = ("success", "client_error", "upstream_error", "interrupted", "client_abort")


@dataclass
class Log:
    """The load generator's own numbers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By mirror and status."""
    rescued: int = 0
    issued: int = 0
    sent: int = 0


class Chats(Record):
    """Counts requests for completions apart from probes."""

    chats = 0

    def add(self, seen: Seen) -> None:
        super().add(seen)
        self.chats += seen.path == CHAT


@asynccontextmanager
async def farm(directory: Path) -> AsyncIterator[tuple[Instance, list[PretendMirror]]]:
    """One mirror that is well, one that fails now and then, one that ends connections."""
    behaviours = {
        "alpha": Behaviour(),
        "beta": Behaviour(status=500, every=7, only=CHAT),
        "gamma": Behaviour(status=503, every=9, only=CHAT),
    }
    async with AsyncExitStack() as stack:
        mirrors = [PretendMirror(n, keys=[TEST_KEY], behaviour=b) for n, b in behaviours.items()]
        for mirror in mirrors:
            mirror._dispatcher.record = Chats()
            await stack.enter_async_context(mirror)
        config = {
            "router": {
                "workers": 2,
                "callers": ["own", "issued"],
                "retry": {"budget": 1.0},
                "ejection": {"consecutive_5xx": 1000, "consecutive_local": 1000, "ratio": 1.0},
            },
            "prices": {MODEL: {"input": 2.5, "output": 10}},
            "mirrors": [
                {
                    "id": mirror.name,
                    "url": mirror.base_url,
                    "api_key": TEST_KEY,
                    "client_keys": ["sk-*"],
                    "models": [MODEL],
                }
                for mirror in mirrors
            ],
        }
        instance = Instance(config, directory)
        await asyncio.to_thread(instance.__enter__)
        stack.push_async_callback(asyncio.to_thread, instance.__exit__)
        yield instance, mirrors


async def one(instance: Instance, issued: str, turn: int, log: Log) -> None:
    """One request on a connection of its own, of a kind that its number says."""
    wanted, patience = "success", 20.0
    switches: dict[str, float] = {}
    own = turn % 3 != 0
    body: dict[str, Any] = {
        "model": MODEL,
        "stream": turn % 2 == 0,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": f"request {turn}"}],
    }
    if not body["stream"]:
        del body["stream_options"]
    if turn % 50 == 7:
        wanted, switches, own = "client_error", {"status": 400}, True
    elif turn % 50 == 13:
        wanted, switches, own = "upstream_error", {"status": 500}, True
    elif turn % 50 == 20:
        wanted, switches, own = "interrupted", {"cut_after": 2}, True
    elif turn % 50 == 31:
        wanted, switches, own, patience = "client_abort", {"latency": 30.0}, True, 0.3
    headers = {"authorization": f"Bearer {TEST_KEY if own else issued}", "connection": "close"}
    if switches:
        headers["x-test-behaviour"] = json.dumps({**switches, "every": 1})
    log.sent += 1
    outcome, mirror, status, attempts = "client_abort", "", 0, 1
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with asyncio.timeout(patience), aiohttp.ClientSession(connector=connector) as session:
            async with session.post(
                f"{instance.base_url}{CHAT}", json=body, headers=headers
            ) as answer:
                mirror = answer.headers.get("x-mirrorgate-mirror", "")
                status = answer.status
                attempts = int(answer.headers.get("x-mirrorgate-attempts", "1"))
                outcome = "interrupted"
                text = await answer.text()
                if "stream_interrupted" not in text:
                    outcome = told(status)
    except (aiohttp.ClientError, TimeoutError):
        pass
    assert outcome == wanted, (turn, wanted, outcome, status)
    log.outcomes[outcome] += 1
    if mirror:
        log.answered[mirror, status] += 1
        log.rescued += attempts > 1
    log.issued += not own


def told(status: int) -> str:
    if status < 400:
        return "success"
    return "client_error" if status < 500 else "upstream_error"


async def send(instance: Instance, issued: str, turns: range, log: Log) -> None:
    """Send these, several at a time."""
    left = iter(turns)

    async def some() -> None:
        for turn in left:
            await one(instance, issued, turn, log)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def end_worker(instance: Instance, number: int) -> None:
    """End a worker, and wait for the one in its place."""
    victim = instance.workers()[0].pid
    os.kill(victim, number)

    def replaced() -> bool:
        pids = [worker.pid for worker in instance.workers()]
        return len(pids) == 2 and victim not in pids

    wait_until(replaced, 60, "another worker")
    wait_until(lambda: metric(instance, "mirrorgate_workers") == 2, 60, "its numbers")


async def test_ten_thousand_requests_are_the_same_to_all_who_count(
    tmp_path: Path, measured: Measure
) -> None:
    log = Log()
    async with farm(tmp_path) as (instance, mirrors):
        key = await asyncio.to_thread(create, instance, "counted", "--quota", "1000")
        part = REQUESTS // 4
        ends: tuple[Callable[[], object], ...] = (
            partial(end_worker, instance, signal.SIGTERM),
            partial(kill_control, instance, lambda: None),
            lambda: None,
        )
        for number, end in enumerate(ends):  # under load, each
            turns = range(number * part, (number + 1) * part)
            sending = asyncio.create_task(send(instance, key.key, turns, log))
            await asyncio.sleep(3)
            await asyncio.to_thread(end)
            await sending
        await asyncio.sleep(2.5)  # a killed worker takes what it has not told yet with it
        await asyncio.to_thread(end_worker, instance, signal.SIGKILL)
        await send(instance, key.key, range(3 * part, REQUESTS), log)
        wanted = float(REQUESTS)
        await asyncio.to_thread(
            wait_until,
            lambda: metric(instance, "mirrorgate_requests_total", endpoint="chat") == wanted,
            30,
            "all requests to be counted",
        )
        counted = partial(metric, instance)
        count = partial(asyncio.to_thread, counted)
        for outcome in OUTCOMES:
            found = await count("mirrorgate_requests_total", endpoint="chat", outcome=outcome)
            measured(f"{outcome}: clients, metrics", (log.outcomes[outcome], found))
            assert found == log.outcomes[outcome], outcome
        for (mirror, status), answers in log.answered.items():
            labels = {"mirror": mirror, "code": str(status)}
            assert await count("mirrorgate_requests_total", **labels) == answers, labels
        rescued = await count("mirrorgate_requests_rescued_total")
        measured("rescued: clients, metrics", (log.rescued, rescued))
        assert rescued == log.rescued > 100
        unseen = 0.0
        for each in mirrors:
            record = each.record
            assert isinstance(record, Chats)
            attempts = await count("mirrorgate_attempts_total", mirror=each.name)
            measured(f"attempts on {each.name}: mirror, metrics", (record.chats, attempts))
            unseen += attempts - record.chats
        await the_account_agrees(instance, mirrors, log, measured)
        restarts = await count("mirrorgate_process_restarts_total", process="worker")
        assert (restarts, await count("mirrorgate_process_restarts_total", process="control")) == (
            2,
            1,
        )
        # A kept connection that its mirror has closed meanwhile takes a request to nobody.
        stale = await count("mirrorgate_attempts_total", outcome="stale")
        measured("attempts that no mirror saw, and stale ones", (unseen, stale))
        assert 0 <= unseen <= stale
        left = await count("mirrorgate_attempts_total", outcome="left")
        assert left == log.outcomes["client_abort"]


async def the_account_agrees(
    instance: Instance, mirrors: list[PretendMirror], log: Log, measured: Measure
) -> None:
    """Compare what an issued key has used: ledger, metrics, clients."""

    def requests() -> int:
        return sum(line["requests"] for line in charged(instance).values())

    await asyncio.to_thread(wait_until, lambda: requests() == log.issued, 30, "the ledger")
    (line,) = (await asyncio.to_thread(charged, instance)).values()
    tokens = line["input_tokens"] + line["output_tokens"]
    counted = [
        await asyncio.to_thread(metric, instance, "mirrorgate_tokens_total", kind=kind)
        for kind in ("input", "output")
    ]
    charges = await asyncio.to_thread(metric, instance, "mirrorgate_charges_total")
    measured("requests with the issued key: clients, ledger", (log.issued, line["requests"]))
    measured("tokens: ledger, metrics", (tokens, sum(counted)))
    measured("charged: ledger, metrics", (line["nano"] / 1e9, charges))
    assert sum(counted) == tokens
    assert charges == pytest.approx(line["nano"] / 1e9, rel=1e-9)
    del mirrors
    assert ask(f"{instance.base_url}/healthz").status == 200
