"""The monitor's share of what mirrors allow, out of the table that all workers use."""

from __future__ import annotations

import asyncio
from functools import partial

from monitor.common.config import MirrorConfig
from monitor.probes.capacity import Leave, NoCapacity
from router.admission.shared_table import UNCOUNTED, Table
from router.upstream.limiter import RECHECK, Limiter


class SharedCapacity:
    """Capacity in the table, for the column of the control process."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def enter(self, mirror: MirrorConfig, within: float) -> Leave:
        """Take it, to be given back by what this returns. Raises NoCapacity after `within`
        seconds."""
        limiter = Limiter.of(self._table, mirror)
        if limiter is None:
            return partial(self._table.release, UNCOUNTED)
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while (place := limiter.enter(loop.time(), limiter.counts_connections)) is None:
            if loop.time() >= until:
                raise NoCapacity
            await asyncio.sleep(RECHECK)
        return partial(limiter.leave, place)
