"""Outputs of a running instance: its status page, its metrics, and every trace that it leaves."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from router.cli.client import Client
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance

Node = dict[str, Any]

PAGES = ("/", "/?lang=zh", "/history", "/banned", "/docs", "/feed.atom", "/robots.txt", "/nowhere")
APIS = (
    "/api/v1/nodes",
    "/api/v1/bans",
    "/api/v1/health",
    "/api/v1/incidents",
    "/api/v2/incidents.json",
)
ADMIN = ("status", "explain", "bans", "keys?days=90", "audit?limit=1000")
COMMANDS = (
    ("status",),
    ("bans", "list"),
    ("keys", "list"),
    ("keys", "list", "--use"),
    ("explain",),
    ("audit",),
)


def nodes(instance: Instance) -> dict[str, Node]:
    """Return the nodes of the status page by id."""
    answer = ask(f"{instance.dashboard_url}/api/v1/nodes", key="")
    assert answer.status == 200, answer
    return {node["id"]: node for node in answer.json()["nodes"]}


def states(instance: Instance) -> dict[str, str]:
    """Return the state of every node; empty while the page does not answer."""
    try:
        return {name: node["state"] for name, node in nodes(instance).items()}
    except OSError:
        return {}


def all_up(instance: Instance) -> bool:
    """True if every node is up."""
    found = states(instance)
    return bool(found) and set(found.values()) == {"up"}


def metric(instance: Instance, name: str, **labels: str) -> float:
    """Return the sum of the samples of this name that carry these labels."""
    answer = ask(f"{instance.admin_url}/metrics", key="")
    assert answer.status == 200, answer
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in answer.body.decode().splitlines()
        if line.startswith((f"{name} ", f"{name}{{")) and all(w in line for w in wanted)
    )


def counters(instance: Instance) -> dict[str, float]:
    """Return every sample that may only grow, as it is exposed now."""
    answer = ask(f"{instance.admin_url}/metrics", key="")
    assert answer.status == 200, answer
    lines = [line.rpartition(" ") for line in answer.body.decode().splitlines()]
    grows = re.compile(r"\w+_(total|bucket|count|sum)({|$)")
    return {name: float(value) for name, _, value in lines if grows.match(name)}


def traces(instance: Instance, metrics_token: str) -> Iterator[tuple[str, bytes]]:
    """Everything with its name: files, pages, metrics, commands, processes."""
    folders = [instance.directory, Path(instance.config["admin"]["socket"]).parent]
    yield from _files(folders)
    nodes = [f"/nodes/{mirror['id']}" for mirror in instance.config["mirrors"]]
    paths = (*PAGES, *APIS, *nodes, *(f"/api/v1{node}" for node in nodes))
    for path in paths:
        answer = ask(f"{instance.dashboard_url}{path}", key="")
        yield path, repr(answer.headers).encode() + answer.body
    for key in (metrics_token, "wrong", ""):
        answer = ask(f"{instance.admin_url}/metrics", key=key)
        assert answer.status == (200 if key == metrics_token else 401)
        yield "/metrics", answer.body
    operator = Client(Path(instance.config["admin"]["socket"]))
    for path in ADMIN:
        told = operator.call("GET", f"/api/admin/{path}")
        yield f"/api/admin/{path}", json.dumps(told, ensure_ascii=False).encode()
    for command in (each for words in COMMANDS for each in (words, (*words, "--json"))):
        ran = instance.command(*command)
        yield " ".join(command), (ran.stdout + ran.stderr).encode()
    yield from _processes([instance.pid, *(child.pid for child in instance.children())])


def _files(folders: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                yield str(file), file.read_bytes()


def _processes(pids: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    for pid in pids:
        for name in ("cmdline", "environ"):
            yield f"/proc/{pid}/{name}", Path(f"/proc/{pid}/{name}").read_bytes()
