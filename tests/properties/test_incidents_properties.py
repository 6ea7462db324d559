"""Incidents, walked through by whatever can happen to five mirrors."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.health.incidents import (
    IMPACTS,
    REOPENED_WITHIN,
    Failure,
    Incident,
    blank,
    failed,
    recovered,
    still_relevant,
)

MIRRORS = ("hk", "us", "jp", "de", "sg")
mirrors = st.sampled_from(MIRRORS)


class Drafting(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1e6
        self.incidents: dict[str, Incident] = {}
        self.down: dict[str, float] = {}
        self.recovered: dict[str, float] = {}
        self.failures = 0

    @rule(seconds=st.integers(1, 900))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.integers(-100_000, 100_000))
    def the_clock_jumps(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        mirror=mirrors,
        verdict=st.sampled_from(("tls_reset", "ip_down")),
        cdn=st.sampled_from(("", "cloudflare")),
    )
    def goes_down(self, mirror: str, verdict: str, cdn: str) -> None:
        failure = Failure(mirror, self.now, verdict, cdn)
        near = still_relevant(self.incidents.values(), self.now)
        before = len(self.incidents)
        changed = failed(near, failure, len(MIRRORS), blank(f"i{before}", "here", failure))
        if mirror in self.down:
            assert changed is None
            return
        assert changed is not None
        self.failures += 1
        self.incidents[changed.id] = changed
        self.down[mirror] = self.now
        ended = self.recovered.get(mirror)
        if ended is not None and abs(self.now - ended) <= REOPENED_WITHIN:
            assert len(self.incidents) == before, "flapping made a duplicate"
        assert (
            changed.verdict == verdict or changed.cdn == cdn != "" or len(self.incidents) == before
        )
        assert changed.updated_at == self.now

    @rule(mirror=mirrors)
    def comes_back(self, mirror: str) -> None:
        changed = recovered(self.incidents.values(), mirror, self.now)
        assert (changed is None) == (mirror not in self.down)
        if changed is not None:
            self.incidents[changed.id] = changed
            part = changed.part_of(mirror)
            assert part is not None
            assert part.until is not None
            assert self.now <= part.until <= max(self.now, self.down.pop(mirror))
            self.recovered[mirror] = part.until

    @invariant()
    def whoever_is_down_has_one_open_part(self) -> None:
        parts = [part for incident in self.incidents.values() for part in incident.parts]
        open_parts = sorted(part.mirror for part in parts if part.until is None)
        assert open_parts == sorted(self.down)
        assert sum(part.times for part in parts) == self.failures

    @invariant()
    def an_incident_is_as_long_as_its_parts(self) -> None:
        for incident in self.incidents.values():
            assert incident.parts
            assert incident.started_at == min(part.since for part in incident.parts)
            assert incident.is_open == any(part.until is None for part in incident.parts)
            assert len({part.mirror for part in incident.parts}) == len(incident.parts)
            for part in incident.parts:
                assert part.until is None or part.since <= part.until
                assert incident.resolved_at is None or part.until is not None
                assert incident.resolved_at is None or part.until <= incident.resolved_at  # type: ignore[operator]

    @invariant()
    def it_is_as_grave_as_it_ever_was(self) -> None:
        for incident in self.incidents.values():
            down = sum(part.until is None for part in incident.parts)
            least = 2 if down == len(MIRRORS) else 1 if 2 * down >= len(MIRRORS) else 0
            assert IMPACTS.index(incident.impact) >= least


Drafting.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestDrafting = Drafting.TestCase
