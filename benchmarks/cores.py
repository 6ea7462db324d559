"""Which core does what: the proxy has one of its own, load and mirrors share another."""

import os
from dataclasses import dataclass


class TooFewCores(Exception):
    """Proxy and load would take each other's time."""


@dataclass(frozen=True)
class Cores:
    """Numbers of cores; `second` is for a second worker, None where the machine has only two."""

    load: int
    proxy: int
    second: int | None = None

    def for_workers(self, workers: int) -> str:
        """Return the proxy's cores as taskset takes them."""
        return (
            f"{self.proxy}" if workers < 2 or self.second is None else f"{self.proxy},{self.second}"
        )


def choose(available: set[int]) -> Cores:
    """Return the first cores that this process may use. Raises TooFewCores."""
    if len(available) < 2:
        raise TooFewCores("the benchmarks need two cores: one for the proxy, one for the load")
    return Cores(*sorted(available)[:3])


def pin_to(core: int) -> None:
    """Keep this process, and those it will start, on one core."""
    os.sched_setaffinity(0, {core})


def pinned(command: list[str], cores: str) -> list[str]:
    """Return `command`, to be run on these cores."""
    return ["taskset", "-c", cores, *command]
