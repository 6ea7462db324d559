"""The health machine and the response reader, whatever comes."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.health.snapshot import State
from monitor.health.state_machine import HealthMachine
from monitor.probes.http import ResponseReader


class HealthMachineWalk(RuleBasedStateMachine):
    """Compares the machine with the plain words of its contract, on the list of all results."""

    @initialize(rise=st.integers(1, 4), fall=st.integers(1, 4))
    def begin(self, rise: int, fall: int) -> None:
        self.machine = HealthMachine(1, 1, 0.0)
        self.configure(rise, fall)
        self.seen: list[tuple[bool, float]] = []
        """Results since the last flip."""
        self.now = 0.0

    @rule(rise=st.integers(1, 4), fall=st.integers(1, 4))
    def configure(self, rise: int, fall: int) -> None:
        self.rise, self.fall = rise, fall
        self.machine.configure(rise, fall)

    def _run(self, wanted: bool) -> int:
        """Number of results in a row, up to the last, that were `wanted`."""
        run = 0
        for ok, _ in reversed(self.seen):
            if ok is not wanted:
                break
            run += 1
        return run

    @rule(ok=st.booleans(), later=st.floats(0, 100))
    def observe(self, ok: bool, later: float) -> None:
        self.now += later
        self.seen.append((ok, self.now))
        before, since = self.machine.state, self.machine.since
        flipped = self.machine.observe(ok, self.now)
        assert flipped == (self.machine.state is not before)
        up, down = self._run(True), self._run(False)
        good = (up >= 1 and before is State.unknown) or up >= self.rise
        if before is not State.up and good:
            assert self.machine.state is State.up
        elif before is not State.down and down >= self.fall:
            assert self.machine.state is State.down
        else:
            assert self.machine.state is before
            assert self.machine.since == since
        if flipped:
            first = self.seen[-(up or down)][1]
            assert self.machine.since == first
            self.seen.clear()

    @rule(later=st.floats(0, 100))
    def blind(self, later: float) -> None:
        self.now += later
        known = self.machine.state is not State.unknown
        assert self.machine.blind(self.now) == known
        assert self.machine.state is State.unknown
        self.seen.clear()

    @invariant()
    def since_never_lies_in_the_future(self) -> None:
        if hasattr(self, "machine"):
            assert 0 <= self.machine.since <= self.now

    @invariant()
    def a_doubt_is_a_result_that_contradicts_the_state(self) -> None:
        if hasattr(self, "machine"):
            contrary = bool(self.seen) and (
                self.seen[-1][0] is not (self.machine.state is State.up)
            )
            assert self.machine.in_transition == (
                contrary or (bool(self.seen) and self.machine.state is State.unknown)
            )


TestHealthMachine = HealthMachineWalk.TestCase
TestHealthMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    body=st.binary(max_size=300),
    chunked=st.booleans(),
    cuts=st.lists(st.integers(0, 600), max_size=20),
)
def test_the_answer_does_not_depend_on_how_it_is_cut(body: bytes, chunked: bool, cuts: list[int]):
    if chunked:
        middle = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + middle + b"0\r\n\r\n"
    else:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    reader = ResponseReader()
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        assert not reader.done
        reader.feed(data[start:end])
    assert reader.done
    assert reader.answer().body == body
