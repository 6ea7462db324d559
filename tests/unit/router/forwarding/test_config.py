"""Settings of forwarding that contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.common.settings import SettingsError, read
from router.forwarding.config import RouterConfig


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"timeouts": {"first_content": "10m"}}, "timeouts.first_content"),
        ({"timeouts": {"stream_head": "2m"}, "retry": {"elapsed": "1m"}}, "timeouts.stream_head"),
    ],
)
def test_a_limit_that_leaves_no_time_for_another_mirror_is_refused(
    table: dict[str, Any], path: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        read(RouterConfig, table)
    (fault,) = raised.value.faults
    assert fault.path == path
    assert "retry.elapsed" in fault.message


@pytest.mark.parametrize(
    "table", [{}, {"retry": {"elapsed": "5s"}}, {"timeouts": {"first_content": "599s"}}]
)
def test_learned_limits_and_shorter_ones_are_taken(table: dict[str, Any]) -> None:
    read(RouterConfig, table)
