"""Counters, gauges and histograms as plain numbers that travel between processes.

Every process keeps its own totals since its start and sends them whole, so a message that is
repeated or lost does no harm; the control process adds them up, those of ended processes included.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
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
        ended: Mapping[str, Mapping[Key, list[float]]],
        living: Mapping[str, Mapping[Key, list[float]]],
        exemplars: Mapping[Key, Exemplar],
    ) -> None:
        """`ended`: by slot; `living`: by process."""
        self._families = families
        self._ended = ended
        self._living = living
        self._exemplars = exemplars

    def series(self) -> Iterator[Series]:
        """Every series, added up over the processes.

        Slot by slot, in the order of their names: a sum of fractions depends on the order, and so
        a counter might fall by the last digit when a process ends.
        """
        merged: dict[Key, list[float]] = {}
        for slot in sorted({*self._ended, *map(_slot, self._living)}):
            of_slot = dict(self._ended.get(slot, {}))
            for process, rows in self._living.items():
                if _slot(process) == slot:
                    for key, cells in rows.items():
                        if self._families[key[0]].merge == "max":
                            _maximum(merged, key, cells)
                        else:
                            _add(of_slot, key, cells)
            for key, cells in of_slot.items():
                _add(merged, key, cells)
        for key in sorted(merged):
            yield Series(self._families[key[0]], key[1], merged[key], self._exemplars.get(key))

    def to_json(self) -> Iterator[dict[str, Any]]:
        """Return it for a successor, process by process: counters and histograms, no gauges."""
        for ended, processes in ((True, self._ended), (False, self._living)):
            for process, rows in processes.items():
                kept = [[*k, cells] for k, cells in rows.items() if _lasts(self._families[k[0]])]
                yield {"process": process, "ended": ended, "rows": kept}


class MergedMetrics:
    """The sum over processes: the living by their last message, the ended by their final one.

    A process is named after its slot, as `0-…`, `control-…`; one at a time lives there.
    """

    def __init__(self, families: Iterable[Family]) -> None:
        self.families: Mapping[str, Family] = {f.name: f for f in families}
        self._ended: dict[str, dict[Key, list[float]]] = {}
        """By slot: what its processes have counted that are no more."""
        self._living: dict[str, dict[Key, list[float]]] = {}
        self._exemplars: dict[Key, Exemplar] = {}
        self._mirrors: frozenset[str] | None = None
        """Those that there are; None: not known yet."""
        self._moving = Lock()
        """Held while numbers pass from one dict to another."""

    def update(self, process: str, rows: Rows) -> None:
        """Take the totals that a process sent; `process` names one start of it."""
        living: dict[Key, list[float]] = {}
        for name, labels, value, *exemplar in rows:
            if name in self.families:
                key = (name, tuple(labels))
                living[key] = list(value) if isinstance(value, list) else [value]
                if exemplar and exemplar[0][0] and self._stays(key):
                    self._exemplars[key] = (exemplar[0][0], exemplar[0][1])
        self._living[process] = living

    def end(self, process: str) -> None:
        """A process has ended: its counters and histograms stay in the sum, its gauges go."""
        with self._moving:
            ended = dict(self._ended.get(_slot(process), {}))
            for key, cells in self._living.pop(process, {}).items():
                if _lasts(self.families[key[0]]) and self._stays(key):
                    _add(ended, key, cells)
            self._ended[_slot(process)] = ended

    def succeed(self, slot: str, process: str) -> list[str]:
        """`process` is the one in `slot` from now on: former ones have ended, those that this
        control process knows only from its predecessor included. Returns them."""
        ended = [name for name in self._living if _slot(name) == slot and name != process]
        for former in ended:
            self.end(former)
        return ended

    def restore(self, messages: Iterable[Mapping[str, Any]], mirrors: Iterable[str]) -> None:
        """Go on from what a former control process knew (`Frozen.to_json`), as far as it is of
        mirrors that there are. Workers that live send all of theirs again."""
        self.keep_mirrors(mirrors)
        for message in messages:
            kept = [row for row in message["rows"] if self._stays((row[0], tuple(row[1])))]
            self.update(message["process"], kept)
            if message["ended"]:
                self.end(message["process"])

    def keep_mirrors(self, mirrors: Iterable[str]) -> None:
        """Drop what ended processes have counted of other mirrors, now and when one ends; the
        living drop theirs themselves."""
        self._mirrors = frozenset(("", *mirrors))
        with self._moving:
            self._ended = {
                slot: {key: cells for key, cells in rows.items() if self._stays(key)}
                for slot, rows in self._ended.items()
            }
        self._exemplars = {k: v for k, v in self._exemplars.items() if self._stays(k)}

    def _stays(self, key: Key) -> bool:
        family = self.families.get(key[0])
        if family is None or self._mirrors is None or "mirror" not in family.labels:
            return family is not None
        return key[1][family.labels.index("mirror")] in self._mirrors

    def gauge(self, family: Family) -> float:
        """One gauge without labels, over the living; 0 while none tells it."""
        cells = (rows.get((family.name, ())) for rows in self._living.values())
        told = [cell[0] for cell in cells if cell is not None]
        return max(told, default=0.0) if family.merge == "max" else sum(told)

    def total(self, family: Family, labels: Labels = ()) -> float:
        """One counter with these labels, over all processes that have been."""
        key = (family.name, labels)
        everywhere = (*self._ended.values(), *self._living.values())
        return sum(rows[key][0] for rows in everywhere if key in rows)

    def frozen(self) -> Frozen:
        """The numbers of this moment. Cheap, and safe to be called in another thread: dicts of
        processes and slots are replaced, never changed."""
        with self._moving:
            ended, living = dict(self._ended), dict(self._living)
        return Frozen(self.families, ended, living, dict(self._exemplars))


def _slot(process: str) -> str:
    return process.partition("-")[0]


def _lasts(family: Family) -> bool:
    return family.type != "gauge"


def _maximum(into: dict[Key, list[float]], key: Key, cells: Sequence[float]) -> None:
    into[key] = [max([*into.get(key, []), *cells])]


def _carries(family: Family, labels: Labels, label: str, value: str) -> bool:
    return label in family.labels and labels[family.labels.index(label)] == value


def _add(into: dict[Key, list[float]], key: Key, cells: Sequence[float]) -> None:
    known = into.get(key)
    into[key] = list(cells) if known is None else [a + b for a, b in zip(known, cells, strict=True)]
