"""Numbers of processes add up, whoever of them has ended, and reach the next control process."""

import json
import random
import threading

from monitor.common.metric_registry import Family, MergedMetrics, MetricRegistry

COUNT = Family("mirrorgate_x", "counter", "X.", ("mirror",))
SECONDS = Family("mirrorgate_x_seconds", "histogram", "X.", ("mirror",), (0.1, 1.0))
OPEN = Family("mirrorgate_open", "gauge", "Open.")
FAMILIES = (COUNT, SECONDS, OPEN)
Rows = list[list[object]]


def rows(count: float, opened: float = 1.0, mirror: str = "hk") -> Rows:
    totals = MetricRegistry(FAMILIES)
    totals.add(COUNT.name, (mirror,), count)
    totals.observe(SECONDS.name, 0.5, (mirror,))
    totals.set(OPEN.name, opened)
    handed: Rows = json.loads(json.dumps(totals.to_json()))
    return handed


def sums(merged: MergedMetrics) -> dict[tuple[str, ...], list[float]]:
    return {(s.family.name, *s.labels): s.cells for s in merged.frozen().series()}


def successor(before: MergedMetrics, *mirrors: str) -> MergedMetrics:
    """The numbers of the next control process, which learns them as JSON."""
    after = MergedMetrics(FAMILIES)
    after.restore(json.loads(json.dumps(list(before.frozen().to_json()))), mirrors)
    return after


def test_counters_of_ended_processes_stay_and_gauges_go():
    merged = MergedMetrics(FAMILIES)
    merged.update("0-1-1", rows(5))
    merged.update("1-2-1", rows(7))
    merged.end("0-1-1")
    assert sums(merged)[COUNT.name, "hk"] == [12.0]
    assert sums(merged)[SECONDS.name, "hk"] == [0.0, 2.0, 0.0, 1.0]
    assert sums(merged)[OPEN.name,] == [1.0]


def test_a_successor_knows_all_counters_before_anybody_has_told_it_a_word():
    merged = MergedMetrics(FAMILIES)
    merged.update("0-1-1", rows(5))
    merged.update("control-9-1", rows(2))
    merged.update("1-2-1", rows(7))
    merged.end("1-2-1")
    after = successor(merged, "hk")
    assert sums(after)[COUNT.name, "hk"] == [14.0]
    assert sums(after)[SECONDS.name, "hk"] == sums(merged)[SECONDS.name, "hk"]
    assert (OPEN.name,) not in sums(after)
    after.update("0-1-1", rows(6))  # the living worker says it again, and what came since
    assert sums(after)[COUNT.name, "hk"] == [15.0]


def test_a_worker_that_died_while_control_was_away_is_counted_once():
    merged = MergedMetrics(FAMILIES)
    merged.update("0-1-1", rows(5))
    after = successor(merged, "hk")
    assert after.succeed("0", "0-8-2") == ["0-1-1"]
    after.update("0-8-2", rows(1))
    assert sums(after)[COUNT.name, "hk"] == [6.0]
    assert after.succeed("0", "0-8-2") == []
    assert sums(successor(after, "hk"))[COUNT.name, "hk"] == [6.0]


def test_a_successor_forgets_mirrors_that_were_removed_meanwhile():
    merged = MergedMetrics(FAMILIES)
    merged.update("0-1-1", rows(5, mirror="gone"))
    merged.update("1-1-1", rows(5, mirror=""))
    merged.end("0-1-1")
    assert sums(successor(merged, "hk")).keys() == {(COUNT.name, ""), (SECONDS.name, "")}


def test_exemplars_follow_their_series_and_end_with_them():
    totals, merged = MetricRegistry(FAMILIES), MergedMetrics(FAMILIES)
    totals.observe(SECONDS.name, 0.5, ("hk",))
    totals.exemplar(SECONDS.name, ("hk",))[:] = [b"mg_1", 0.5]
    merged.update("0-1-1", json.loads(json.dumps(totals.to_json())))
    (series,) = merged.frozen().series()
    assert series.exemplar == ("mg_1", 0.5)
    totals.remove("mirror", "hk")
    assert totals.to_json() == []
    merged.update("0-1-1", [])
    merged.keep_mirrors(())
    merged.keep_mirrors(("hk",))
    merged.update("0-1-1", rows(1))
    assert [series.exemplar for series in merged.frozen().series()] == [None, None, None]


def test_no_counter_falls_whatever_ends_and_in_whatever_order():
    """Sums of fractions depend on their order, and Prometheus takes the smallest fall for a new
    beginning: it counts all of it again."""
    rng, now, told = random.Random(7), MergedMetrics(FAMILIES), 0.0
    alive: dict[str, tuple[str, float]] = {}
    for turn in range(3000):
        slot = rng.choice(("0", "1", "2", "10", "control"))
        process, counted = alive.get(slot, (f"{slot}-{turn}", 0.0))
        if rng.random() < 0.3:
            process, counted = f"{slot}-{turn}", 0.0
            now.succeed(slot, process)
        elif rng.random() < 0.1:
            now = successor(now, "hk")
        else:
            counted += rng.choice((0.0, 0.1, 0.7, 1e-9, 3e5 / 7))
            now.update(process, rows(counted))
        alive[slot] = process, counted
        seen = sums(now).get((COUNT.name, "hk"), [0.0])[0]
        assert seen >= told, (turn, told, seen)
        told = seen


def test_a_worker_that_dies_before_it_drops_a_removed_mirror_leaves_no_series():
    merged = MergedMetrics(FAMILIES)
    totals = MetricRegistry(FAMILIES)
    totals.observe(SECONDS.name, 0.5, ("gone",))
    totals.exemplar(SECONDS.name, ("gone",))[:] = [b"mg_1", 0.5]
    merged.update("0-1-1", rows(5, mirror="hk"))
    merged.update("1-1-1", totals.to_json())
    merged.keep_mirrors(("hk",))
    merged.update("1-1-1", totals.to_json())  # it was on its way
    merged.succeed("1", "1-2-2")
    assert sums(merged).keys() == {(COUNT.name, "hk"), (SECONDS.name, "hk"), (OPEN.name,)}
    merged.keep_mirrors(("hk", "gone"))
    merged.update("1-2-2", rows(1, mirror="gone"))
    assert [series.exemplar for series in merged.frozen().series()] == [None] * 5


class Interrupted(dict[str, Family]):
    """Families; whoever looks one up lets another thread have its turn first."""

    meanwhile: threading.Thread | None = None

    def __getitem__(self, name: str) -> Family:
        if self.meanwhile is not None and self.meanwhile.ident is None:
            self.meanwhile.start()
            self.meanwhile.join(0.1)
        return super().__getitem__(name)


def test_numbers_of_a_moment_are_whole_while_a_process_ends():
    """Another thread freezes them for a scrape."""
    merged, seen = MergedMetrics(FAMILIES), []
    merged.update("0-1-1", rows(5))
    families = merged.families = Interrupted(merged.families)
    families.meanwhile = threading.Thread(target=lambda: seen.append(merged.frozen()))
    merged.end("0-1-1")
    families.meanwhile.join()
    assert [s.cells for s in seen[0].series() if s.family is COUNT] == [[5.0]]
