"""The list of bans in force, as control keeps it."""

import random

import pytest

from monitor.common.bans import Ban
from router.control.ban_service import BansInForce
from tests.testkit.memory import kept_bytes


def ban(number: int, since: float = 0.0, until: float | None = None, id_: str = "") -> Ban:
    return Ban(id_ or f"b{number}", f"192.0.2.{number}/32", since, until, "x", "operator")


def names(bans) -> list[str]:
    return [one.id for one in bans]


def test_pages_are_newest_first_and_go_on_behind_a_place():
    listed = BansInForce([ban(1, 1.0), ban(2, 3.0), ban(3, 2.0)], lambda: 5.0)
    assert names(listed.newest(2)) == ["b2", "b3"]
    assert names(listed.newest(2, (2.0, "b3"))) == ["b1"]
    assert names(listed.newest(2, (1.0, "b1"))) == []
    assert names(listed.newest(9, (2.5, ""))) == ["b3", "b1"]


def test_a_ban_replaces_the_one_on_its_network():
    listed = BansInForce([ban(1, 1.0, 9.0)], lambda: 5.0)
    listed.add([ban(1, 4.0, None, "again")])
    assert names(listed.in_force()) == ["again"]
    assert len(listed) == 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("at_once", [1, 90])
def test_it_lists_what_a_plain_list_would(seed, at_once):
    rng, now = random.Random(seed), [0.0]
    known: dict[str, Ban] = {}
    listed = BansInForce([], lambda: now[0])
    for step in range(60):
        now[0] += rng.random()
        if rng.random() < 0.6:
            some = [
                ban(n, now[0], rng.choice([None, now[0] + 9 * rng.random()]), f"{step}-{n}")
                for n in rng.sample(range(250), at_once)
            ]
            listed.add(some)
            known |= {one.network: one for one in some}
        else:
            gone = [f"192.0.2.{n}/32" for n in rng.sample(range(250), at_once)]
            listed.remove(gone)
            for network in gone:
                known.pop(network, None)
        holding = [one for one in known.values() if one.holds(now[0])]
        holding.sort(key=lambda one: (one.since, one.id), reverse=True)
        assert list(listed.in_force()) == holding
        assert len(listed) == len(holding)
        assert all(one.network in listed for one in holding)
        if holding:
            last = rng.choice(holding)
            behind = holding[holding.index(last) + 1 :][:7]
            assert list(listed.newest(7, (last.since, last.id))) == behind


def test_bans_that_come_and_go_leave_nothing():
    listed = BansInForce([], lambda: 0.0)

    def renew() -> None:
        for number in range(5000):
            listed.add([ban(1, float(number), 1e9)])

    assert kept_bytes(renew) < 200_000


def test_a_client_finds_the_narrowest_ban_around_it():
    def on(network: str, until: float | None = None) -> Ban:
        return Ban(network, network, 1.0, until, "x", "operator")

    listed = BansInForce([on("198.51.100.0/24"), on("198.51.100.7/32", 4.0)], lambda: 3.0)
    listed.add([on("2001:db8::/32")])
    found = {
        "198.51.100.7/32": "198.51.100.7/32",
        "198.51.100.8/32": "198.51.100.0/24",
        "198.51.101.7/32": None,
        "2001:db8:1:2::/64": "2001:db8::/32",
        "2001:db9::/64": None,
    }
    for client, network in found.items():
        ban = listed.on(client)
        assert (ban and ban.network) == network
    listed.remove(["198.51.100.7/32"])
    assert listed.on("198.51.100.7/32") is not None
