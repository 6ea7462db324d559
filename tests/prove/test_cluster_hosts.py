"""Instances on hosts of their own: what one of them alone cannot reach, limits, and faults."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.prove.conftest import Measure
from tests.testkit.certs import Authority
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.instance_output import nodes
from tests.testkit.sites import BLOCKED, Sites, running_sites
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Sites]:
    with running_sites(tmp_path_factory.mktemp("sites"), authority) as running:
        yield running


def _views(instance: Instance) -> dict[str, str]:
    """State of the mirror that can be blocked, by vantage."""
    seen = nodes(instance)["gamma"]["vantages"]
    return {name: each["state"] for name, each in seen.items()}


def test_a_name_that_is_blocked_for_one_host_is_told_as_such_on_all_pages(
    sites: Sites, measured: Measure
):
    tokyo, shanghai, paris = sites.instances
    everywhere = dict.fromkeys(("tokyo", "shanghai", "paris"), "up")
    for each in sites.instances:
        wait_until(lambda each=each: _views(each) == everywhere, 60, "all to see each other")
    began = time.monotonic()
    sites.hosts.block(1, BLOCKED, sites.mirrors["gamma"].port)
    for each in sites.instances:
        there = {**everywhere, "shanghai": "down"}
        wait_until(lambda each=each, t=there: _views(each) == t, 60, "the block to be seen")
    measured("seconds until the block is on all pages", time.monotonic() - began)

    def confirmed() -> bool:
        node = nodes(shanghai)["gamma"]
        (path,) = node["paths"]
        return path["level"] == "confirmed" and node["verdict"].startswith("sni_block")

    wait_until(confirmed, 120, "the block to be confirmed")
    measured("seconds until it is confirmed", time.monotonic() - began)
    (path,) = nodes(shanghai)["gamma"]["paths"]
    assert "the server works" in path["evidence"][0], path
    assert path["evidence"][0].startswith(("From tokyo", "From paris")), path
    for each in (tokyo, paris):
        assert nodes(each)["gamma"]["verdict"] == "ok"
    for each in sites.instances:
        page = ask(
            f"{each.dashboard_url}/nodes/gamma?lang=en", key="", headers={"Accept": "text/html"}
        )
        said = page.body.decode()
        assert "not from shanghai." in said
        assert "tokyo" in said

    sites.hosts.plug(0, "down")
    began = time.monotonic()
    wait_until(lambda: _views(shanghai)["tokyo"] == "unknown", 120, "tokyo to be missed")
    measured("seconds until a host that is cut off is unknown", time.monotonic() - began)
    assert _views(shanghai)["paris"] == "up"
    sites.hosts.plug(0)
    sites.hosts.unblock(1)
    for each in (shanghai, paris):
        wait_until(lambda each=each: _views(each)["tokyo"] == "up", 60, "tokyo to be heard again")
