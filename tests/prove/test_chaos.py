"""Ten minutes of clients and mirrors that do everything wrong leave nothing behind.

`make prove-compiled` plays them on the compiled form.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.chaos import MODES, play_chaos

pytestmark = pytest.mark.prove

SECONDS = float(os.environ.get("MIRRORGATE_CHAOS_SECONDS", "600"))
"""For all modes together."""


@pytest.mark.parametrize(("loop_name", "over_tls"), MODES)
def test_chaos_leaves_nothing_behind(
    loop_name: str, over_tls: bool, tmp_path: Path, measured: Measure
) -> None:
    seen = play_chaos(loop_name, over_tls, SECONDS / len(MODES), clients=40, directory=tmp_path)
    for what, count in sorted(seen.items()):
        measured(f"{loop_name}, {'TLS' if over_tls else 'plain'}: {what}", count)
