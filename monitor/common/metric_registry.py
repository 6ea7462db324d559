"""Counters, gauges and histograms as plain numbers that travel between processes.

Every process keeps its own totals since its start and sends them whole, so a message that is
repeated or lost does no harm; the control process adds them up, those of ended processes included.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Labels = tuple[str, ...]
Key = tuple[str, Labels]
"""Of a series: the name of its family, and its label values."""
Exemplar = tuple[str, float]
"""The id of a request, and the observation that it made."""


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


class Series(NamedTuple):
    """One series as it is exposed."""

    family: Family
    labels: Labels
    """In the order of the family's."""
    cells: list[float]
    """One number, or the counts of the buckets, not cumulative, and the sum of observations."""
    exemplar: Exemplar | None = None


class MetricRegistry:
    """The numbers of one process."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.families: Mapping[str, Family] = {f.name: f for f in families}
        self._cells: dict[Key, list[float]] = {}
        """One number, or the counts of the buckets and the sum of the observations."""
        self._exemplars: dict[Key, list[Any]] = {}
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

    def exemplar(self, name: str, labels: Labels) -> list[Any]:
        """The id (in bytes) and the observation of the last request, to be set in place."""
        return self._exemplars.setdefault((name, labels), [b"", 0.0])

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
        self._exemplars = {k: v for k, v in self._exemplars.items() if k in self._cells}

    def _stays(self, key: Key, label: str, value: str, names: Collection[str]) -> bool:
        if names and key[0] not in names:
            return True
        return not _carries(self.families[key[0]], key[1], label, value)

    def to_json(self) -> list[list[Any]]:
        """Rows `[name, [labels], number | [bucket counts…, sum]]`, buckets not cumulative; where
        there is an exemplar, it follows as `[id, observation]`."""
        exemplars = self._exemplars
        return [
            [name, list(labels), list(cells) if len(cells) > 1 else cells[0]]
            if (name, labels) not in exemplars
            else [name, list(labels), list(cells), _told(*exemplars[name, labels])]
            for (name, labels), cells in self._cells.items()
        ]


def _told(request: bytes, observation: float) -> Exemplar:
    return request.decode(), observation


def observe(cells: list[float], buckets: Sequence[float], value: float) -> None:
    """Add one observation to the cells of a histogram with these bounds."""
    cells[bisect_left(buckets, value)] += 1
    cells[-1] += value


Rows = Sequence[Sequence[Any]]
"""As `MetricRegistry.to_json` has them."""


class Frozen:
    """The numbers of all processes at one moment, which another thread may add up and write."""

    def __init__(
        self,
        families: Mapping[str, Family],
        ended: dict[Key, list[float]],
        living: Mapping[str, Mapping[Key, list[float]]],
        exemplars: Mapping[Key, Exemplar],
    ) -> None:
        self._families = families
        self._ended = ended
        self._living = living
        self._exemplars = exemplars

    def series(self) -> Iterator[Series]:
        """Every series, added up over the processes."""
        merged = dict(self._ended)
        for rows in self._living.values():
            for key, cells in rows.items():
                if self._families[key[0]].merge == "max":
                    _maximum(merged, key, cells)
                else:
                    _add(merged, key, cells)
        for key in sorted(merged):
            yield Series(self._families[key[0]], key[1], merged[key], self._exemplars.get(key))

    def to_json(self) -> Iterator[dict[str, Any]]:
        """Return it for a successor, process by process: counters and histograms, no gauges."""
        for process, rows in (("", self._ended), *self._living.items()):
            kept = [[*k, cells] for k, cells in rows.items() if _lasts(self._families[k[0]])]
            yield {"process": process, "rows": kept}


class MergedMetrics:
    """The sum over processes: the living by their last message, the ended by their final one."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.families: Mapping[str, Family] = {f.name: f for f in families}
        self._ended: dict[Key, list[float]] = {}
        self._living: dict[str, dict[Key, list[float]]] = {}
        self._exemplars: dict[Key, Exemplar] = {}

    def update(self, process: str, rows: Rows) -> None:
        """Take the totals that a process sent; `process` names one start of it."""
        living: dict[Key, list[float]] = {}
        for name, labels, value, *exemplar in rows:
            if name in self.families:
                key = (name, tuple(labels))
                living[key] = list(value) if isinstance(value, list) else [value]
                if exemplar and exemplar[0][0]:
                    self._exemplars[key] = (exemplar[0][0], exemplar[0][1])
        self._living[process] = living

    def end(self, process: str) -> None:
        """A process has ended: its counters and histograms stay in the sum, its gauges go."""
        for key, cells in self._living.pop(process, {}).items():
            if _lasts(self.families[key[0]]):
                _add(self._ended, key, cells)

    def succeed(self, slot: str, process: str) -> list[str]:
        """`process` is the one whose name begins with `slot` from now on: former ones have ended,
        those that this control process knows only from its predecessor included. Returns them."""
        ended = [name for name in self._living if name.startswith(slot) and name != process]
        for former in ended:
            self.end(former)
        return ended

    def restore(self, messages: Iterable[Mapping[str, Any]], mirrors: Collection[str]) -> None:
        """Go on from what a former control process knew (`Frozen.to_json`), as far as it is of
        mirrors that there are. Workers that live send all of theirs again."""
        for message in messages:
            kept = [row for row in message["rows"] if self._is_of(row, mirrors)]
            self.update(message["process"] or "ended", kept)
            if not message["process"]:
                self.end("ended")

    def _is_of(self, row: Sequence[Any], mirrors: Collection[str]) -> bool:
        family = self.families.get(row[0])
        if family is None or "mirror" not in family.labels:
            return family is not None
        return row[1][family.labels.index("mirror")] in ("", *mirrors)

    def forget(self, label: str, value: str) -> None:
        """Drop what carries this label value from ended processes, as of a removed mirror."""
        families = self.families
        self._ended = {
            key: cells
            for key, cells in self._ended.items()
            if not _carries(families[key[0]], key[1], label, value)
        }
        self._exemplars = {
            key: exemplar
            for key, exemplar in self._exemplars.items()
            if not _carries(families[key[0]], key[1], label, value)
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

    def frozen(self) -> Frozen:
        """The numbers of this moment. Cheap, and safe to be called in another thread: dicts of
        living processes are replaced, never changed."""
        return Frozen(self.families, dict(self._ended), dict(self._living), dict(self._exemplars))


def _lasts(family: Family) -> bool:
    return family.type != "gauge"


def _maximum(into: dict[Key, list[float]], key: Key, cells: Sequence[float]) -> None:
    into[key] = [max([*into.get(key, []), *cells])]


def _carries(family: Family, labels: Labels, label: str, value: str) -> bool:
    return label in family.labels and labels[family.labels.index(label)] == value


def _add(into: dict[Key, list[float]], key: Key, cells: Sequence[float]) -> None:
    known = into.get(key)
    into[key] = list(cells) if known is None else [a + b for a, b in zip(known, cells, strict=True)]
