"""Addresses that probes may connect to."""

import subprocess
import sys

import pytest

from monitor.probes.connect import MAX_ADDRESSES, resolve_host, usable
from monitor.probes.results import ProbeFailure
from monitor.probes.system_resolver import SystemResolver


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::1",
    ],
)
def test_a_name_must_not_lead_into_a_private_network(address):
    with pytest.raises(ProbeFailure) as caught:
        usable([address], allow_private=False)
    assert caught.value.failure == "dns_bogon_error"
    assert usable([address], allow_private=True)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
@pytest.mark.parametrize("allow_private", [False, True])
def test_an_address_of_no_host_is_none(address, allow_private):
    with pytest.raises(ProbeFailure) as caught:
        usable([address], allow_private)
    assert caught.value.failure == "dns_no_answer"
    assert usable([address, "1.1.1.1"], allow_private) == ("1.1.1.1",)


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        (["1.1.1.1", "10.0.0.1", "1.1.1.1"], ("1.1.1.1",)),
        (["::ffff:1.1.1.1", "1.1.1.1"], ("1.1.1.1",)),
        (["2606:4700::1111", "1.1.1.1"], ("2606:4700::1111", "1.1.1.1")),
        (["64:ff9b::1.1.1.1"], ("64:ff9b::101:101",)),
    ],
)
def test_public_answers_are_kept_once_and_in_order(answers, kept):
    assert usable(answers, allow_private=False) == kept


def test_a_flood_of_answers_is_cut():
    assert len(usable([f"1.1.1.{n}" for n in range(99)], False)) == MAX_ADDRESSES


def test_no_answer_is_not_a_private_answer():
    with pytest.raises(ProbeFailure, match="dns_no_answer"):
        usable([], allow_private=False)


async def test_an_address_written_by_the_operator_is_used_as_it_is():
    assert await resolve_host("127.0.0.1", False, 1.0, SystemResolver()) == ("127.0.0.1",)
    assert await resolve_host("::1", False, 1.0, SystemResolver()) == ("::1",)


def test_resolving_for_workers_loads_neither_database_nor_dns_library():
    code = (
        "import sys; from monitor.probes.connect import resolve_host;"
        "sys.exit(any(m in sys.modules for m in ('sqlmodel', 'sqlalchemy', 'dns', 'aiohttp')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
