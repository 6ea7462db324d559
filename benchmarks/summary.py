"""From samples to medians, and from medians to ratios and goals. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from benchmarks.accounting import Usage
from benchmarks.load.result import Result
from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Sample:
    """One measurement of one proxy. Costs are CPU µs per unit, of all its processes and of its
    workers; delays are µs, `first_…` to the first event of a stream; memory is bytes per unit,
    `rest` and `peak` bytes of all its processes, `worker_rest` of its workers; `start` is the
    seconds from its start to the first request that it forwarded.

    None: there is no such thing here. `failure` says why there is nothing at all.
    """

    workload: str
    proxy: str
    round: int
    rate: float | None = None
    cpu: float | None = None
    worker_cpu: float | None = None
    p50: float | None = None
    p99: float | None = None
    first_p50: float | None = None
    first_p99: float | None = None
    memory: float | None = None
    rest: float | None = None
    worker_rest: float | None = None
    peak: float | None = None
    start: float | None = None
    failure: str = ""

    @classmethod
    def of(
        cls,
        workload: Workload,
        proxy: str,
        turn: int,
        result: Result,
        before: Usage,
        after: Usage,
        start: float | None = None,
    ) -> "Sample":
        """Return what the work cost."""
        cpu = _per_unit(after.cpu - before.cpu, result.units)
        worker_cpu = _per_unit(after.worker_cpu - before.worker_cpu, result.units)
        exists, costs = after.resident > 0, not workload.of_memory
        return cls(
            workload.name,
            proxy,
            turn,
            rate=result.units / result.seconds if costs else None,
            cpu=cpu if exists and costs else None,
            worker_cpu=worker_cpu if after.worker_cpu and costs else None,
            p50=result.p50,
            p99=result.p99,
            first_p50=result.first_p50,
            first_p99=result.first_p99,
            memory=result.memory_per_unit,
            rest=before.resident if exists else None,
            worker_rest=before.worker_resident or None,
            peak=after.peak if exists else None,
            start=start,
        )

    @classmethod
    def failed(cls, workload: Workload, proxy: str, turn: int, reason: str) -> "Sample":
        return cls(workload.name, proxy, turn, failure=reason)

    def told(self) -> str:
        """Return it in a few words."""
        if self.failure:
            return f"failed: {self.failure}"
        if self.memory is not None:
            return f"{self.memory / 1024:.1f} KiB each"
        cpu = "" if self.cpu is None else f"{self.cpu:.1f} µs of CPU each, "
        return f"{cpu}{self.rate or 0:,.0f} per second"


@dataclass(frozen=True)
class Row:
    """The medians of one proxy's samples; see Sample. `added_…`: beyond those of `direct`."""

    workload: str
    proxy: str
    samples: int
    rate: float | None
    cpu: float | None
    worker_cpu: float | None
    p50: float | None
    p99: float | None
    added_p50: float | None
    added_p99: float | None
    first_p50: float | None
    first_p99: float | None
    memory: float | None
    rest: float | None
    worker_rest: float | None
    peak: float | None
    start: float | None
    failure: str


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Return a row for each workload and proxy, in the order of their first samples."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.workload, sample.proxy), []).append(sample)
    return [
        _row(group, [each for each in groups.get((workload, "direct"), []) if not each.failure])
        for (workload, _), group in groups.items()
    ]


def _row(group: Sequence[Sample], direct: Sequence[Sample]) -> Row:
    good = [sample for sample in group if not sample.failure]
    own = {name: median(getattr(sample, name) for sample in good) for name in _MEASURED}
    added = {
        name: _difference(own[name], median(getattr(d, name) for d in direct)) for name in _DELAYS
    }
    if group[0].proxy == "direct":
        added = dict.fromkeys(_DELAYS)
    failures = [sample.failure for sample in group if sample.failure]
    return Row(
        group[0].workload,
        group[0].proxy,
        len(good),
        **own,
        added_p50=added["p50"],
        added_p99=added["p99"],
        failure=failures[-1] if failures else "",
    )


_MEASURED = tuple(
    field.name
    for field in fields(Sample)
    if field.name not in ("workload", "proxy", "round", "failure")
)
_DELAYS = ("p50", "p99")


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of what is there; None if nothing is."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _per_unit(seconds: float, units: float) -> float:
    return seconds * 1e6 / units
