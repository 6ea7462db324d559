"""The exchange of shares with a real server: it decides as the board of the properties does."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.common.ipc import Message
from router.cluster.address import Address
from router.cluster.leases import CONNECTIONS, Ask, Name
from router.cluster.valkey import Unreachable, Valkey, connect
from tests.testkit.valkey import Board, RedisServer
from tests.testkit.wait import wait_until_async as wait_until

HOSTS = ("a", "b", "c")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


def clients(server: RedisServer, prefix: str) -> dict[str, Valkey]:
    return {host: connect(server.url, prefix, host, 0) for host in HOSTS}


def ask_of(rng: random.Random) -> Ask:
    name = Name(CONNECTIONS, bytes([rng.randrange(2)]))
    units, held = rng.randrange(12), rng.randrange(4)
    return Ask(name, 10, 0.0, rng.randrange(12), max(units, held), held, rng.random() < 0.5)


async def test_the_script_decides_as_the_board_does(server: RedisServer):
    hosts, board, rng = clients(server, "decides"), Board(), random.Random(20261129)
    async with hosts["a"].listening() as messages:
        for host, client in hosts.items():
            alive = await client.beat()
            board.beats[host] = board.now
            assert sorted(alive) == sorted(board.alive())
        heard: list[Message] = []
        for _ in range(300):
            host = rng.choice(HOSTS)
            asks = [ask_of(rng) for _ in range(rng.randrange(1, 4))]
            expected = [board.exchange(host, ask) for ask in asks]
            assert await hosts[host].exchange(asks) == expected
        await hosts["b"].tell({"type": "end"})
        async for message in messages:
            if message["type"] == "end":
                break
            heard.append(message)
    shares = [each for each in heard if each["type"] == "share"]
    assert shares == [each for each in board.published if each["from"] != "a"]
    assert {each["wanted"] for each in shares} == {True, False}
    for client in hosts.values():
        await client.close()


async def test_a_host_that_leaves_has_no_share_any_more(server: RedisServer):
    hosts = clients(server, "leaves")
    for client in hosts.values():
        await client.beat()
    ask = Ask(Name(CONNECTIONS, b"x"), 10, 0.0, 10, 10, 0, False)
    assert (await hosts["a"].exchange([ask]))[0].share == 2
    await hosts["b"].leave()
    await hosts["c"].leave()
    assert (await hosts["a"].exchange([ask]))[0].share == 10
    for client in hosts.values():
        await client.close()


async def test_the_server_that_answers_is_named(server: RedisServer):
    client = connect(f"valkey://127.0.0.1:{server.port}", "reach", "a", 0)
    assert await client.reach() == f"127.0.0.1:{server.port}"
    await client.close()


@pytest.mark.parametrize("ahead", [3600.0, 0.0, -3600.0])
async def test_a_host_learns_that_its_clock_is_not_the_servers(server: RedisServer, ahead: float):
    client = Valkey(Address.of(server.url), "ahead", "a", 0, lambda: time.time() + ahead)
    assert await client.beat() == ["a"]
    assert client.ahead == pytest.approx(ahead, abs=10.0)
    await client.close()


async def test_a_server_that_ends_and_begins_again_is_used_again(tmp_path: Path):
    with RedisServer(tmp_path) as server:
        client = connect(server.url, "again", "a", 0)
        assert await client.beat() == ["a"]
        server.kill()
        with pytest.raises(Unreachable):
            await client.beat()
        client.forget()
        server.start()
        assert await client.beat() == ["a"]
        await client.close()


async def test_a_frozen_server_holds_nobody_up(tmp_path: Path):
    import signal

    with RedisServer(tmp_path) as server:
        client = connect(server.url, "frozen", "a", 0)
        await client.beat()
        assert server.process is not None
        server.process.send(signal.SIGSTOP)
        with pytest.raises(Unreachable, match="within 1 s"):
            await client.beat()
        server.process.send(signal.SIGCONT)
        client.forget()
        await wait_until(lambda: client.beat(), 10)
        await client.close()
