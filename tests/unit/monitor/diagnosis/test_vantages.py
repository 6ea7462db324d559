"""One path from here and from other places."""

import pytest

from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.vantages import SeenFrom, compared
from monitor.diagnosis.verdicts import VERDICTS

NAME, HERE, OTHER = "a.example", "192.0.2.1", "192.0.2.2"


def there(alive: bool, times: int = 1, address: str = HERE) -> SeenFrom:
    return SeenFrom("hk-1", NAME, address, alive, "ok" if alive else "ip_unreachable", times)


@pytest.mark.parametrize(
    ("verdict", "level", "times", "becomes", "sure"),
    [
        ("ip_unreachable", Level.none, 1, "ip_port_block", Level.suspected),
        ("ip_unreachable", Level.none, 2, "ip_port_block", Level.confirmed),
        ("connection_reset", Level.none, 2, "ip_port_block", Level.confirmed),
        ("sni_block_drop", Level.none, 1, "sni_block_drop", Level.suspected),
        ("sni_block_rst", Level.suspected, 1, "sni_block_rst", Level.confirmed),
        ("connection_refused", Level.none, 9, "connection_refused", Level.none),
        ("tls_reset", Level.none, 9, "tls_reset", Level.none),
    ],
)
def test_a_mirror_that_works_only_from_elsewhere_is_blocked_from_here(
    verdict, level, times, becomes, sure
):
    found = compared(Finding(verdict, level), NAME, HERE, [there(True, times)])
    assert (found.verdict, found.level) == (becomes, sure)
    assert found.evidence[0].code == "works_from"
    assert "hk-1" in str(found.evidence[0])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_other_outcomes_elsewhere_make_no_block(verdict):
    finding = Finding(verdict, Level.suspected)
    for seen in (there(False, 9), there(True, 9, OTHER)):
        found = compared(finding, NAME, HERE, [seen])
        assert (found.verdict, found.level) == (verdict, Level.suspected)


@pytest.mark.parametrize("verdict", ["ok", "unknown", "local_network_down", "cert_expired"])
def test_nothing_is_said_of_what_no_other_place_can_tell(verdict):
    finding = Finding(verdict)
    assert compared(finding, NAME, HERE, [there(True, 9)]) is finding
