"""Inheritance of child processes besides their configuration."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_PRINT = (
    "import resource, sys\n"
    "from router.process.inherited import leave_no_core\n"
    "resource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard}))\n"
    "leave_no_core()\n"
    "print(*resource.getrlimit(resource.RLIMIT_CORE))"
)


@pytest.mark.parametrize(("hard", "soft"), [(0, 0), (1 << 20, 1)])
def test_no_core_is_left_whatever_the_limits_are(hard: int, soft: int):
    """A soft limit of one byte, where that is allowed: the kernel drops such a core in any case."""
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if most not in (resource.RLIM_INFINITY, hard) and most < hard:
        pytest.skip("the hard limit is lower here already: ulimit -Hc")
    command = [sys.executable, "-c", _PRINT.format(hard=hard)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(soft), str(hard)]
