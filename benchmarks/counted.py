"""A worker's data plane alone, for counting: `python -m benchmarks.counted PORT PORT PORT`.

It forwards to mirrors at these ports, with all that a worker does on a request's way: limits,
selection among the mirrors, metrics, metering. Its first line of output names its own port and the
one where a connection makes it run the loop that instructions are compared with.
"""

import argparse
import asyncio
import gc
import random
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import count

import uvloop

from benchmarks.counting import ISSUED, PEPPER
from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from router.admission import ban_list, key_index
from router.admission.network_map import place
from router.admission.shared_table import Table, create
from router.forwarding.client_connection import ClientConnection
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES

HOST = "127.0.0.1"
TICK = 0.0002
"""Seconds by which each look at the clock moves it, so that every run sees the same times."""
UNITS = 20_000
"""Turns of the loop that is compared with: about as much as fifty requests."""


class Cell:
    """Something with an attribute and a method."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, data: bytes) -> int:
        self.count += len(data)
        return self.count


def calibrate() -> int:
    """Do what an interpreter does most: calls, attributes, small objects, dicts and bytes."""
    cells: dict[bytes, Cell] = {}
    head = b"content-type: application/json\r\n"
    total = 0
    for turn in range(UNITS):
        name, _, value = head.partition(b": ")
        cell = cells.get(name)
        if cell is None or not turn % 64:
            cell = cells[name] = Cell()
        total += cell.add(value[:-2])
        pair = (name, turn)
        total += len(pair[0].lower())
    return total


def bans(many: int) -> Iterator[ban_list.Row]:
    """Rows of bans as they come to be: addresses, IPv6 networks of one client, a few wider ones.
    None of them is the client's."""
    for n in range(many):
        network = f"2001:db8:{n >> 16:x}:{n & 0xFFFF:x}::/64"
        if not n % 3:
            network = f"{IPv4Address('11.0.0.1') + n}/32"
        elif not n % 100:
            network = f"{IPv4Address('100.0.0.0') + 256 * n}/24"
        yield network, None, f"{n:012}", "too_many_connections"


def key_rows(many: int, index: key_index.KeyIndex) -> Iterator[key_index.Row]:
    """Rows of issued keys, of which the first is the client's."""
    for n in range(many):
        digest = index.digest(b"%d" % n if n else ISSUED).hex()
        yield f"k{n}", digest, None, 0.0, "", None, None


def context(asked: argparse.Namespace) -> WorkerContext:
    """The context of a worker that knows what is asked for (`counting.Setup`)."""
    ports = asked.ports
    names = [f"mirror-{port}" for port in ports]
    mirrors = [
        {
            "id": name,
            "url": f"http://{HOST}:{port}",
            "addresses": [HOST],
            "allow_private": True,
            "api_key": "sk-of-the-mirror",
            "client_keys": ["*"],
        }
        for name, port in zip(names, ports, strict=True)
    ]
    config = read(
        WorkerConfig,
        {
            "router": {"callers": ["own", "issued"]},
            "limits": {"connections": 65535, "requests_per_second": 1e6, "burst": 1_000_000},
            "prices": {"gpt": [{"input": 1.0, "output": 2.0}]},
            "mirrors": mirrors,
        },
    )
    table = Table(create(asked.workers), 0, asked.workers)
    table.set_hosts(asked.hosts)
    made = WorkerContext(
        config,
        MetricRegistry(FAMILIES),
        table=table,
        hand_over=asyncio.Protocol,
        rng=random.Random(1),
        clock=count(1000.0, TICK).__next__,
        wall=count(1.7e9, TICK).__next__,
    )
    made.learn(
        HealthSnapshot(1, 1.0, "count", {name: MirrorHealth(name, State.up) for name in names})
    )
    made.keys.season(PEPPER)
    made.keys.extend(key_rows(asked.keys, made.keys))
    made.bans.extend(sorted(bans(asked.bans), key=lambda row: place(row[0])))
    return made


async def serve(asked: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    made = context(asked)
    # its wheel does not turn: that takes the same however much is asked

    async def calibrated(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calibrate()
        writer.close()

    server = await loop.create_server(lambda: ClientConnection(made), HOST, 0)
    loops = await asyncio.start_server(calibrated, HOST, 0)
    gc.freeze()
    gc.disable()  # it would come in one measurement or in another
    found = (each.sockets[0].getsockname()[1] for each in (server, loops))
    print(*found, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.counted")
    parser.add_argument("ports", type=int, nargs="+")
    for name, usual in (("--bans", 0), ("--keys", 1), ("--workers", 1), ("--hosts", 0)):
        parser.add_argument(name, type=int, default=usual)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
