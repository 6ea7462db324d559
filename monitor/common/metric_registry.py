"""Counters, gauges and histograms as plain numbers that travel between processes.

Every process keeps its own totals since its start and sends them whole, so a message that is
repeated or lost does no harm; the control process adds them up, those of ended processes included.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without `_total`, type, help, label names and bucket bounds."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds in ascending order, without +Inf."""
    merge: Literal["sum", "max"] = "sum"
    """How the values of several processes become one."""


class MetricRegistry:
    """The numbers of one process."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.families: Mapping[str, Family] = {f.name: f for f in families}
        self._cells: dict[tuple[str, Labels], list[float]] = {}
        """One number, or the counts of the buckets and the sum of the observations."""
        self.removals = 0
        """How often series were dropped: whoever keeps cells must then ask for them again."""

    def cells(self, name: str, labels: Labels = ()) -> list[float]:
        """The cells of a series, to be added to in place where a look-up each time costs much."""
        cells = self._cells.get((name, labels))
        if cells is None:
            family = self.families[name]
            size = len(family.buckets) + 2 if family.type == "histogram" else 1
            cells = self._cells[name, labels] = [0.0] * size
        return cells

    def add(self, name: str, labels: Labels = (), amount: float = 1.0) -> None:
        """Add to a counter or gauge."""
        self.cells(name, labels)[0] += amount

    def set(self, name: str, value: float, labels: Labels = ()) -> None:
        """Set a gauge."""
        self.cells(name, labels)[0] = value

    def observe(self, name: str, value: float, labels: Labels = ()) -> None:
        """Add one observation to a histogram."""
        observe(self.cells(name, labels), self.families[name].buckets, value)

    def get(self, name: str, labels: Labels = ()) -> float:
        """The value of a counter or gauge; 0 when it was never touched."""
        cells = self._cells.get((name, labels))
        return cells[0] if cells is not None else 0.0

    def remove(self, label: str, value: str, names: Collection[str] = ()) -> None:
        """Drop every series with this label value, as of a removed mirror; `names`: only those."""
        self.removals += 1
        self._cells = {k: v for k, v in self._cells.items() if self._stays(k, label, value, names)}

    def _stays(
        self, key: tuple[str, Labels], label: str, value: str, names: Collection[str]
    ) -> bool:
        if names and key[0] not in names:
            return True
        return not _carries(self.families[key[0]], key[1], label, value)

    def to_json(self) -> list[list[Any]]:
        """Rows `[name, [labels], number | [bucket counts…, sum]]`, buckets not cumulative."""
        return [
            [name, list(labels), list(cells) if len(cells) > 1 else cells[0]]
            for (name, labels), cells in self._cells.items()
        ]


def observe(cells: list[float], buckets: Sequence[float], value: float) -> None:
    """Add one observation to the cells of a histogram with these bounds."""
    cells[bisect_left(buckets, value)] += 1
    cells[-1] += value


class MergedMetrics:
    """The sum over processes: the living by their last message, the ended by their final one."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.families: Mapping[str, Family] = {f.name: f for f in families}
        self._ended: dict[tuple[str, Labels], list[float]] = {}
        self._living: dict[str, dict[tuple[str, Labels], list[float]]] = {}

    def update(self, process: str, rows: Sequence[Sequence[Any]]) -> None:
        """Take the totals that a process sent; `process` names one start of it."""
        self._living[process] = {
            (name, tuple(labels)): list(value) if isinstance(value, list) else [value]
            for name, labels, value in rows
            if name in self.families
        }

    def end(self, process: str) -> None:
        """A process has ended: its counters and histograms stay in the sum, its gauges go."""
        for key, cells in self._living.pop(process, {}).items():
            if self.families[key[0]].type != "gauge":
                _add(self._ended, key, cells)

    def forget(self, label: str, value: str) -> None:
        """Drop what carries this label value from ended processes, as of a removed mirror."""
        self._ended = {
            key: cells
            for key, cells in self._ended.items()
            if not _carries(self.families[key[0]], key[1], label, value)
        }

    def gauge(self, family: Family) -> float:
        """One gauge without labels, over the living; 0 while none tells it."""
        cells = (rows.get((family.name, ())) for rows in self._living.values())
        told = [cell[0] for cell in cells if cell is not None]
        return max(told, default=0.0) if family.merge == "max" else sum(told)

    def total(self, family: Family) -> float:
        """One counter without labels, over all processes that have been."""
        key = (family.name, ())
        cells = [rows[key][0] for rows in self._living.values() if key in rows]
        return sum(cells) + self._ended.get(key, [0.0])[0]

    def sums(self) -> Iterator[tuple[Family, Labels, list[float]]]:
        """Every series: its family, label values and cells as `Totals.to_json` has them.

        They are added up when they are read, which may be in another thread: what is added are
        the numbers of this moment, as dicts of living processes are replaced, never changed.
        """
        return self._added_up(dict(self._ended), list(self._living.values()))

    def _added_up(
        self,
        merged: dict[tuple[str, Labels], list[float]],
        living: Sequence[Mapping[tuple[str, Labels], list[float]]],
    ) -> Iterator[tuple[Family, Labels, list[float]]]:
        for rows in living:
            for key, cells in rows.items():
                if self.families[key[0]].merge == "max":
                    _maximum(merged, key, cells)
                else:
                    _add(merged, key, cells)
        for key in sorted(merged):
            yield self.families[key[0]], key[1], merged[key]


def _maximum(
    into: dict[tuple[str, Labels], list[float]], key: tuple[str, Labels], cells: Sequence[float]
) -> None:
    into[key] = [max([*into.get(key, []), *cells])]


def _carries(family: Family, labels: Labels, label: str, value: str) -> bool:
    return label in family.labels and labels[family.labels.index(label)] == value


def _add(into: dict[tuple[str, Labels], list[float]], key: Any, cells: Sequence[float]) -> None:
    known = into.get(key)
    into[key] = list(cells) if known is None else [a + b for a, b in zip(known, cells, strict=True)]
