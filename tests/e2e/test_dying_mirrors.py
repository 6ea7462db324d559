"""A mirror fails under load: what may be repeated succeeds. (All modes: `make prove`.)"""

from pathlib import Path

import pytest

from tests.scenarios.failing_mirrors import failure_under_load

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("mode", ["reset", "hang"])
async def test_every_repeatable_request_succeeds_when_a_mirror_dies(mode: str, tmp_path: Path):
    failure = await failure_under_load(mode, tmp_path / "instance", rate=100.0, warm=3.0, then=4.0)
    assert len(failure.after) > 200
    assert failure.lost == []
    assert failure.unclear == []
    assert failure.sent_twice == []
    assert failure.rescued
