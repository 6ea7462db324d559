"""A mirror that bans above ten connections or twenty requests a second never bans us."""

from pathlib import Path

import pytest

from tests.scenarios.failing_mirrors import CONNECTIONS, RATE, overload

pytestmark = pytest.mark.e2e


async def test_beside_others_it_gets_what_it_bears_and_everybody_is_served(tmp_path: Path):
    seen = await overload(tmp_path / "instance", generous=2, seconds=6.0)
    assert seen.strict.banned == ""
    assert seen.strict.most_connections <= CONNECTIONS
    assert seen.strict.most_in_a_second <= RATE
    assert {one.outcome for one in seen.ended} == {"whole"}
    assert len(seen.strict.asked) > 20


async def test_alone_it_is_asked_as_much_as_it_bears_and_the_rest_are_told(tmp_path: Path):
    seen = await overload(tmp_path / "instance", generous=0, seconds=6.0)
    assert seen.strict.banned == ""
    assert seen.lost == []
    told = [one for one in seen.ended if one.outcome == "error"]
    assert told
    assert all("queue_full" in one.detail for one in told)
    assert seen.rate > RATE / 2


@pytest.mark.prove
async def test_it_does_ban_whoever_does_not_know_its_limits(tmp_path: Path):
    seen = await overload(tmp_path / "instance", generous=1, seconds=6.0, limited=False)
    assert seen.strict.banned
