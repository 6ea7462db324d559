"""One name of a mirror becomes blocked under load: nobody notices but the monitor, and it is used
again when the block has gone.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import aiohttp
import pytest

from tests.testkit.censor.relay import Censor, Handshake
from tests.testkit.censor.rules import DROP, FIN, RST, Action, Residual, Rule, exactly
from tests.testkit.certs import Authority
from tests.testkit.http_client import CHAT
from tests.testkit.instance import Config, Instance
from tests.testkit.instance_output import nodes, states
from tests.testkit.instance_processes import control_pid
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.wait import wait_until, wait_until_async

pytestmark = pytest.mark.e2e

BLOCKED, ALTERNATE, CONTROL = "a.mirror.test", "b.mirror.test", "control.mirror.test"
ADDRESSES = ("127.60.0.1", "127.60.0.2")
RATE = 50.0
"""Requests a second."""
RESIDUAL, HOLD = 2.0, 2.5
"""Seconds that the censor remembers, and that mirrorgate expects it to."""
LONG_RESIDUAL, LONG_HOLD = 4.0, 4.5
"""The same where a test must end before the name is looked at again, after ten times as long."""
FOREVER = 90.0
"""Seconds that a censor remembers, and is expected to, who does not forget before the end."""
BLOCKED_FOR = 10.0
ON_ITS_WAY = 0.5
KILLED, STOPPED = signal.SIGKILL, signal.SIGSTOP
"""What becomes of the control process; where it is None it goes on."""


@dataclass
class Load:
    """Requests at a steady rate, whatever becomes of them."""

    url: str
    answers: list[tuple[float, int]] = field(default_factory=list)
    """When each was asked, and its status; 0 if none came."""

    async def run(self) -> None:
        """Ask until cancelled."""
        headers = {"Authorization": f"Bearer {TEST_KEY}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(headers=headers, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            begin = time.monotonic()
            for number in range(10**9):
                await asyncio.sleep(max(begin + number / RATE - time.monotonic(), 0))
                group.create_task(self._ask(session))

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        asked, status = time.monotonic(), 0
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(self.url, json=CHAT) as answer:
                await answer.read()
                status = answer.status
        self.answers.append((asked, status))


@contextlib.asynccontextmanager
async def running(load: Load) -> AsyncIterator[None]:
    """Run the load meanwhile; it ends at once."""
    task = asyncio.create_task(load.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def config(port: int, authority: Authority) -> Config:
    return {
        "router": {"workers": 2},
        "limits": {"allow": ["127.0.0.0/8"]},
        "monitor": {
            "interval": "1s",
            "residual": f"{HOLD}s",
            "sni": {"control": [CONTROL]},
        },
        "mirrors": [
            {
                "id": "two-by-two",
                "url": f"https://{BLOCKED}:{port}",
                "hostnames": [ALTERNATE],
                "addresses": list(ADDRESSES),
                "allow_private": True,
                "ca_file": str(authority.ca_file),
                "client_keys": ["sk-*"],
            }
        ],
    }


def at_one_address(settings: Config) -> None:
    settings["mirrors"][0]["addresses"] = [ADDRESSES[0]]


def until_the_end(settings: Config) -> None:
    settings["monitor"]["residual"] = f"{FOREVER}s"


def at_one_address_for_long(settings: Config) -> None:
    at_one_address(settings)
    settings["monitor"]["residual"] = f"{LONG_HOLD}s"


def two_mirrors_at_one_address(settings: Config) -> None:
    at_one_address_for_long(settings)
    (first,) = settings["mirrors"]
    del first["hostnames"]
    second = {**first, "id": "beside", "url": first["url"].replace(BLOCKED, ALTERNATE)}
    settings["mirrors"].append(second)


@dataclass
class Scene:
    """A mirror behind a censor, an instance before both, and requests to it all the time."""

    censor: Censor
    instance: Instance
    load: Load
    port: int

    def served(self, name: str, since: float = 0.0) -> int:
        """Handshakes with this name that came through."""
        return sum(seen.action == "pass" for seen in self.censor.handshakes(name, since=since))

    def block(self, action: Action, residual: Residual | None = None) -> None:
        """Begin to block the name, with an empty log."""
        self.censor.log.clear()
        self.censor.rules = (Rule(exactly(BLOCKED), action, residual=residual),)

    def triggers(self) -> list[Handshake]:
        """Those that the censor has cut off for their name, not for an earlier one."""
        return [seen for seen in self.censor.log if seen.action != "pass" and not seen.residual]

    def failed(self, since: float = 0.0) -> list[int]:
        """The statuses of requests since then that did not succeed."""
        return [status for at, status in self.load.answers if at > since and status != 200]

    async def served_over(self, name: str, times: int, since: float = 0.0) -> None:
        """Wait for so many handshakes."""
        await wait_until_async(lambda: self.served(name, since) > times, 60, f"traffic over {name}")

    async def asked_for(self, seconds: float, since: float) -> None:
        """Wait for the requests of so many seconds."""
        await wait_until_async(
            lambda: sum(asked > since for asked, _ in self.load.answers) > RATE * seconds, 60
        )

    async def sees(self, condition: Callable[[Instance], bool], about: str) -> None:
        """Wait for something that the instance tells."""
        await asyncio.to_thread(wait_until, lambda: condition(self.instance), 60, about)

    async def signal_control(self, number: signal.Signals | None) -> None:
        """Kill or stop the control process; None: it goes on."""
        if number is not None:
            pid = await asyncio.to_thread(control_pid, self.instance)
            assert pid is not None
            os.kill(pid, number)


@contextlib.asynccontextmanager
async def scene(
    authority: Authority,
    folder: Path,
    change: Callable[[Config], None] = lambda settings: None,
    *,
    keeps: bool = False,
) -> AsyncIterator[Scene]:
    """Run all of it. Unless the mirror `keeps` connections each request needs a handshake of its
    own, so that every one could meet the block."""
    tls = authority.issue("*.mirror.test").server_context()
    headers = {} if keeps else {"connection": "close"}
    async with PretendMirror("two", tls=tls, headers=headers) as mirror, Censor() as censor:
        port = await censor.listen(ADDRESSES, ("127.0.0.1", mirror.port))
        settings = config(port, authority)
        change(settings)
        instance = Instance(settings, folder / "instance")
        await asyncio.to_thread(instance.start)
        try:
            load = Load(f"{instance.base_url}/v1/chat/completions")
            async with running(load):
                yield Scene(censor, instance, load, port)
        finally:
            await asyncio.to_thread(instance.stop)
            instance.close()


async def test_a_blocked_name_is_left_unnoticed_and_comes_back(
    authority: Authority, tmp_path: Path
):
    async with scene(authority, tmp_path) as here:
        await here.sees(knows(4), "all paths")
        await wait_until_async(lambda: len(here.censor.log) > 100, 60, "traffic")
        blocked = time.monotonic()
        here.block(RST, Residual(RESIDUAL))
        await wait_until_async(lambda: time.monotonic() > blocked + BLOCKED_FOR, BLOCKED_FOR * 2)
        here.censor.rules, freed = (), time.monotonic()
        await wait_until_async(
            lambda: here.served(BLOCKED, freed) > 50,
            HOLD + 15,
            "traffic over the name that was blocked",
        )
    assert len(here.load.answers) > RATE * BLOCKED_FOR / 2
    assert here.failed() == []
    failed = [seen for seen in here.censor.log if seen.action == "rst" and seen.sni == BLOCKED]
    first = failed[0].at
    late = here.censor.handshakes(BLOCKED, since=first + 2.0, until=freed)
    assert len(late) <= 6, "only experiments show the name"
    assert_no_name_was_shown_to_a_held_endpoint(here.censor, first)


@pytest.mark.parametrize(
    ("number", "action"),
    [
        pytest.param(None, RST, id="control runs", marks=pytest.mark.prove),
        pytest.param(KILLED, RST, id="control is killed"),
        pytest.param(STOPPED, DROP, id="control stands, drop"),
        pytest.param(STOPPED, RST, id="control stands, reset", marks=pytest.mark.prove),
    ],
)
async def test_another_name_is_taken_at_the_only_address(
    authority: Authority, tmp_path: Path, number: signal.Signals | None, action: Action
):
    """No other address leads round the block; with control or without, and while it looks."""
    async with scene(authority, tmp_path, at_one_address) as here:
        await here.served_over(BLOCKED, 50)
        await here.sees(knows(2), "both paths")
        await here.signal_control(number)
        here.block(action)
        await here.served_over(ALTERNATE, 100)
        if number is not STOPPED:
            found = f"{ADDRESSES[0]}:{here.port}: sni_block_rst"
            await wait_until_async(lambda: found in here.instance.logs(), 60, found)
    assert here.failed() == []


@pytest.mark.parametrize(
    ("number", "action"),
    [
        pytest.param(None, RST, id="control runs, reset", marks=pytest.mark.prove),
        pytest.param(None, DROP, id="control runs, drop"),
        pytest.param(KILLED, RST, id="control is killed, reset"),
        pytest.param(KILLED, DROP, id="control is killed, drop", marks=pytest.mark.prove),
    ],
)
async def test_a_name_shuts_one_of_two_addresses_and_no_other(
    authority: Authority, tmp_path: Path, number: signal.Signals | None, action: Action
):
    """Under another name the second address leads round a censor that remembers, whoever looks."""
    async with scene(authority, tmp_path, until_the_end) as here:
        await here.sees(knows(4), "all paths")
        await here.served_over(BLOCKED, 50)
        here.block(action, Residual(FOREVER, action))
        await here.signal_control(number)
        await wait_until_async(lambda: bool(here.triggers()), 60, "the name to be shown")
        if number is not None:
            await here.sees(lambda instance: "control ended" in instance.logs(), "its end")
            await here.sees(has_probed, "another one")
        await here.asked_for(15, time.monotonic())
    assert len({seen.address for seen in here.triggers()}) == 1
    assert here.failed() == []


@pytest.mark.parametrize(
    ("number", "keeps", "action"),
    [
        pytest.param(None, True, FIN, id="control runs, open connections, close"),
        pytest.param(KILLED, False, RST, id="control is killed, no open connections, reset"),
        *(
            pytest.param(*case, marks=pytest.mark.prove)
            for case in product((None, KILLED), (True, False), (RST, FIN))
            if case not in ((None, True, FIN), (KILLED, False, RST))
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_a_name_shuts_the_only_address_once(
    authority: Authority,
    tmp_path: Path,
    number: signal.Signals | None,
    keeps: bool,
    action: Action,
):
    """Nothing leads round a censor that remembers: the time that it remembers is lost, but not
    again and again, and connections that are open go on."""
    async with scene(authority, tmp_path, at_one_address_for_long, keeps=keeps) as here:
        answers = here.load.answers
        await here.sees(knows(2), "both paths")
        await wait_until_async(lambda: sum(s == 200 for _, s in answers) > 50, 60, "traffic")
        await here.signal_control(number)
        here.block(action, Residual(LONG_RESIDUAL, action))
        await wait_until_async(lambda: bool(here.triggers()), 60, "the name to be shown")
        blocked = here.triggers()[0].at
        await here.served_over(ALTERNATE, 1 if keeps else 50, blocked)
        await here.sees(has_left, "the verdict")
        known = len(answers)
        await wait_until_async(
            lambda: len(answers) > known + 50 and all(s == 200 for _, s in answers[-50:]),
            60,
            "all workers to know",
        )
        settled = time.monotonic()
        await here.asked_for(3, settled)
    # a control process that has just been started shows the name once more, and so may each worker
    if number is None:
        assert len(here.triggers()) == 1
    assert [seen for seen in here.triggers() if seen.at > settled] == []
    assert here.failed(settled) == []
    shut = [status for asked, status in answers if blocked < asked < blocked + LONG_RESIDUAL]
    if keeps:
        assert shut.count(200) > len(shut) / 4, "a worker without an open connection has none"


async def test_a_name_does_not_shut_out_the_mirror_beside_it(authority: Authority, tmp_path: Path):
    """Two mirrors at one address, such as two names of one gateway: once the name of one has shut
    it, the other one is used, and not shut out again for a look at the first."""
    async with scene(authority, tmp_path, two_mirrors_at_one_address) as here:
        await here.served_over(BLOCKED, 10)
        await here.served_over(ALTERNATE, 10)
        here.block(RST, Residual(LONG_RESIDUAL))
        await here.sees(is_left_out, "verdicts")
        settled = time.monotonic()
        await here.asked_for(8, settled)
    assert [seen for seen in here.triggers() if seen.at > settled] == []
    assert here.failed(settled) == []


def is_left_out(instance: Instance) -> bool:
    """True once the blocked mirror is down for its name, and the other one serves."""
    told = nodes(instance)
    verdict: str = told["two-by-two"]["verdict"]
    return verdict == "sni_block_rst" and told["beside"]["state"] == "up"


def has_left(instance: Instance) -> bool:
    """True once control has left the blocked name and found that the other one works."""
    (node,) = nodes(instance).values()
    said = {path["hostname"]: path["verdict"] for path in node["paths"]}
    return said.get(BLOCKED, "").startswith("sni_block") and said.get(ALTERNATE) == "ok"


def has_probed(instance: Instance) -> bool:
    """True once control says of every mirror that it can be reached, or not."""
    told = states(instance).values()
    return bool(told) and "unknown" not in told


def knows(paths: int) -> Callable[[Instance], bool]:
    """True once probes have come through over all the paths."""

    def ask(instance: Instance) -> bool:
        (node,) = nodes(instance).values()
        return [path["verdict"] for path in node["paths"]] == ["ok"] * paths

    return ask


def assert_no_name_was_shown_to_a_held_endpoint(censor: Censor, first: float) -> None:
    """After a reset nobody shows the name to that address until the censor has forgotten.

    The first two seconds are those in which the processes tell each other; and when the time of a
    quarantine is over for all of them, one may be on its way before it hears of another.
    """
    for hit in censor.handshakes(BLOCKED, since=first):
        if hit.action == "rst" and not hit.residual:
            since = max(hit.at + ON_ITS_WAY, first + 2.0)
            assert censor.handshakes(BLOCKED, hit.address, since, hit.at + RESIDUAL) == []
