"""Reports of the clients of a measurement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class LoadFailed(Exception):
    """The work was not done as it should: what was measured means nothing."""


@dataclass(frozen=True)
class Result:
    """Work done: `units` in `seconds`; delays in µs, None where the work has none."""

    units: float
    seconds: float
    p50: float | None = None
    p99: float | None = None
    first_p50: float | None = None
    """From the request to the first event of a stream."""
    first_p99: float | None = None
    memory_per_unit: float | None = None


class Load(Protocol):
    """One kind of client."""

    def warm(self, port: int) -> None:
        """Do a little of the work, so that connections and code are warm."""

    def run(self, port: int, seconds: float, memory: Callable[[], int]) -> Result:
        """Work for about that long; `memory` tells the proxy's resident bytes at a moment.

        Raises LoadFailed.
        """


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; `values` need not be sorted and must not be empty."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * int(share * 1000) // 1000))
    return ordered[rank - 1]
