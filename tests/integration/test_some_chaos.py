"""Seconds of clients and mirrors that do everything wrong; `make prove` has ten minutes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.chaos import MODES, play_chaos


@pytest.mark.parametrize(("loop_name", "over_tls"), MODES)
def test_chaos_leaves_nothing_behind(loop_name: str, over_tls: bool, tmp_path: Path) -> None:
    seen = play_chaos(loop_name, over_tls, seconds=2, clients=20, directory=tmp_path)
    assert seen["answered"]
