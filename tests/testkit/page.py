"""Outputs of an instance: its page's nodes and bans, and its metrics."""

from typing import Any

from tests.testkit.asking import ask
from tests.testkit.instance import Instance

Node = dict[str, Any]


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
