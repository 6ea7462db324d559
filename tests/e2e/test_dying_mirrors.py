"""A mirror dies under load: what may be repeated succeeds. (All ways: `make prove`.)"""

from pathlib import Path

import pytest

from tests.testkit.deadly import death_by

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("way", ["reset", "hang"])
async def test_whatever_may_be_repeated_succeeds_when_a_mirror_dies(way: str, tmp_path: Path):
    death = await death_by(way, tmp_path / "instance", rate=100.0, warm=3.0, then=4.0)
    assert len(death.after) > 200
    assert death.lost == []
    assert death.unclear == []
    assert death.sent_twice == []
    assert death.rescued
