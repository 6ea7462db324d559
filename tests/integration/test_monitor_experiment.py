"""Experiments before real servers behind a censor, with a residual hold of a second."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from monitor.common.config import MonitorTimeouts
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import CRASHES, FAMILIES, Tasks
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.address_memory import RoundTrips
from monitor.engine.block_tests import BlockTestRunner, BlockTests, Case, Conclusion, EndpointBusy
from monitor.engine.sni_budget import SniBudget
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import endpoint_of
from monitor.probes.tls import TlsContexts
from monitor.probes.trial_results import Outcome, Role, Trial
from monitor.probes.trials import Subject, attempt
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import DROP, FIN, RST, Action, Residual, Rule, exactly, other_than
from tests.testkit.certs import Authority
from tests.testkit.wait import wait_until_async

PACE = replace(DiagnosisTiming().shortened(1.0), start_jitter=0.01, gap=0.01)
TIMEOUTS = MonitorTimeouts(connect=10, handshake=10)
NAME = "mirror.test"
OTHER = "other.test"
"""Another name at the same address."""


class SlowToOpen(RoundTrips):
    """Connections take 30 s to open; what follows takes as long as it does."""

    def add(self, address: str, seconds: float) -> None:
        super().add(address, 30.0)


class Place:
    """A server with a certificate for the name, a censor before it, and a laboratory."""

    def __init__(self, censor: Censor, port: int, ca_file: str) -> None:
        self.censor, self.port, self.ca_file = censor, port, ca_file
        self.use(PACE)

    def use(self, pace: DiagnosisTiming, **more) -> None:
        self.quarantine, self.care = Quarantine(pace), SniBudget(pace)
        self.runner = BlockTestRunner(
            TlsContexts(),
            self.quarantine,
            self.care,
            pace,
            controls=("control.test",),
            rng=random.Random(1),
            **more,
        )

    async def examine(self, address: str = "127.0.0.1", **more) -> Conclusion:
        subject = Subject(NAME, address, self.port, self.ca_file)
        timeouts = more.pop("timeouts", TIMEOUTS)
        return await self.runner.examine(subject, timeouts, **more)


@pytest.fixture
async def place(authority: Authority) -> AsyncIterator[Place]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            assert not await reader.read()
        writer.transport.abort()

    leaf = authority.issue(NAME)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=leaf.server_context())
    upstream = ("127.0.0.1", server.sockets[0].getsockname()[1])
    async with Censor() as censor:
        port = await censor.listen(("127.0.0.1", "127.0.0.2"), upstream=upstream)
        yield Place(censor, port, str(authority.ca_file))
    server.close()
    await server.wait_closed()


def roles(conclusion: Conclusion) -> list[Role]:
    return [trial.role for trial in conclusion.trials]


@pytest.mark.parametrize(
    ("action", "verdict"),
    [(RST, "sni_block_rst"), (FIN, "sni_block_fin"), (DROP, "sni_block_drop")],
    ids=["rst", "fin", "drop"],
)
async def test_a_blocked_name_is_found_and_never_shown_to_an_endpoint_that_is_held(
    place: Place, action: Action, verdict
):
    seconds = 2.7 if action is DROP else 0.5  # silence is noticed after a second
    place.censor.rules = (Rule(exactly(NAME), action, residual=Residual(seconds, action)),)
    timeouts = MonitorTimeouts(connect=10, handshake=1 if action is DROP else 10)
    conclusion = await place.examine(timeouts=timeouts)
    control, target = Role.control, Role.target
    assert roles(conclusion) == [control, target, *[control] * 5, target, control, control]
    assert (conclusion.finding.verdict, conclusion.finding.residual) == (verdict, True)
    first, second = place.censor.handshakes(sni=NAME)
    assert second.at - first.at >= PACE.residual_hold
    assert not first.residual
    assert not second.residual
    assert place.quarantine.running(conclusion.trials[-3].sent_at)


async def test_a_name_that_passes_is_cleared_without_a_wait(place: Place):
    conclusion = await place.examine()
    assert roles(conclusion) == [Role.control, Role.target]
    assert [trial.outcome for trial in conclusion.trials] == [Outcome.hello, Outcome.hello]
    assert conclusion.finding.blocked == 0
    assert not place.quarantine.running(conclusion.trials[-1].at)
    again = await place.examine()
    assert [trial.rtt is not None for trial in again.trials] == [True, True]


async def test_a_reset_is_not_called_too_soon_where_connections_alone_are_slow_to_open(
    place: Place,
):
    place.use(PACE, round_trips=SlowToOpen())
    place.censor.rules = (Rule(exactly(NAME), RST),)
    finding = (await place.examine()).finding
    assert (finding.verdict, finding.level) == ("sni_block_rst", Level.suspected)


async def test_a_server_that_cuts_off_everybody_is_not_a_blocked_name(place: Place):
    place.censor.rules = (Rule(lambda read: True, RST),)
    conclusion = await place.examine()
    assert {Role.no_sni, Role.not_tls} <= set(roles(conclusion))
    assert not conclusion.finding.verdict.startswith("sni_block")


async def test_nothing_begins_while_the_endpoint_is_held(place: Place):
    now = asyncio.get_running_loop().time()
    until = place.quarantine.trigger(endpoint_of("127.0.0.1", place.port), now)
    held, free = await asyncio.gather(place.examine(), place.examine("127.0.0.2"))
    assert held.trials[0].at >= until
    assert free.trials[0].at < held.trials[0].at
    assert not place.censor.handshakes(address="127.0.0.1", until=until)


async def test_somebody_who_waits_at_a_terminal_is_told_at_once(place: Place):
    place.use(DiagnosisTiming())
    place.censor.rules = (Rule(exactly(NAME), RST),)
    conclusion = await place.examine(patient=False)
    control, target = Role.control, Role.target
    assert roles(conclusion) == [control, target, control, target, control]
    assert not place.quarantine.running(conclusion.trials[-1].at), "others are answered there"


async def test_somebody_who_waits_at_a_terminal_is_not_kept_by_a_residual_block(place: Place):
    place.use(DiagnosisTiming())
    place.censor.rules = (Rule(exactly(NAME), RST, residual=Residual(180.0)),)
    conclusion = await place.examine(patient=False)
    assert roles(conclusion) == [Role.control, Role.target, Role.control, Role.control]
    again = await place.examine(patient=False)
    assert again.trials == ()
    assert len(place.censor.handshakes(sni=NAME)) == 1


async def test_one_experiment_at_a_time_on_an_endpoint(place: Place):
    place.use(replace(PACE, start_jitter=0.0, gap=30.0))
    running = asyncio.create_task(place.examine())
    await wait_until_async(lambda: place.runner.is_busy("127.0.0.1", place.port))
    with pytest.raises(EndpointBusy):
        await place.examine()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not place.runner.is_busy("127.0.0.1", place.port)


async def test_a_name_is_shown_no_more_often_than_allowed(place: Place):
    place.use(replace(PACE, suspicious_most=1, suspicious_window=1.5))
    place.censor.rules = (Rule(exactly(NAME), RST),)
    await place.examine()
    first, second = place.censor.handshakes(sni=NAME)
    assert second.at - first.at >= 1.4


async def test_a_cancelled_experiment_closes_its_connection(place: Place):
    place.censor.rules = (Rule(lambda read: True, DROP),)
    running = asyncio.create_task(place.examine())
    await wait_until_async(lambda: place.censor.handshakes())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_without_control_names_nothing_is_tried(place: Place):
    place.runner.configure(())
    conclusion = await place.examine()
    assert conclusion.trials == ()
    assert not place.censor.log


async def test_trials_made_while_we_are_offline_say_nothing(place: Place):
    place.use(PACE, online=lambda: False)
    place.censor.rules = (Rule(exactly(NAME), RST),)
    conclusion = await place.examine()
    assert conclusion.finding.verdict == "local_network_down"


@pytest.mark.parametrize("when", ["glance", "experiment"])
async def test_control_names_that_a_reload_takes_away_end_what_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch, when: str
):
    """No name that was taken away is shown any more, nothing is held without evidence."""
    place.censor.rules = (Rule(exactly("control.test"), RST),) if when == "glance" else ()
    totals, concluded = MetricRegistry(FAMILIES), list[Conclusion]()
    laboratory = place.runner
    shown: list[str] = []

    async def watched(role: Role, subject: Subject, control: str, *more: Any) -> Any:
        shown.append(control)
        made = await attempt(role, subject, control, *more)
        if when == "glance" or len(shown) == 2:
            laboratory.configure(())
        return made

    monkeypatch.setattr("monitor.engine.block_tests.attempt", watched)
    examiner = BlockTests(
        laboratory,
        TlsContexts(),
        place.quarantine,
        PACE,
        Listening(concluded),
        time.monotonic,
        Tasks(totals),
    )
    subject = Subject(NAME, "127.0.0.1", place.port, place.ca_file)
    assert examiner.suspect(Case("m", subject, TIMEOUTS))
    await wait_until_async(lambda: not examiner.is_busy(NAME), 30)
    assert shown == ["control.test"] * (1 if when == "glance" else 2)
    assert totals.get(CRASHES.name, ("examination",)) == 0
    assert [c.why for c in concluded] == ([] if when == "glance" else ["there is no control name"])
    endpoint = endpoint_of("127.0.0.1", place.port)
    assert place.quarantine.until(endpoint, time.monotonic()) is None


async def test_a_name_that_nothing_is_known_of_keeps_the_only_address_open(place: Place):
    """The server cuts off every name but its own, and one of these is blocked."""
    place.censor.rules = (Rule(other_than(OTHER), RST),)
    concluded = list[Conclusion]()
    block_tests = BlockTests(
        place.runner, TlsContexts(), place.quarantine, PACE, Listening(concluded), time.monotonic
    )
    unproven = ("second.test", OTHER)
    subject = Subject(NAME, "127.0.0.1", place.port, place.ca_file, unproven=unproven)
    assert block_tests.suspect(Case("m", subject, TIMEOUTS))
    await wait_until_async(lambda: bool(concluded), 30)
    (conclusion,) = concluded
    assert (conclusion.finding.verdict, conclusion.finding.level) == (
        "sni_block_rst",
        Level.suspected,
    )


async def test_the_endpoint_is_not_held_until_another_name_is_cut_off_too(place: Place):
    """Traffic goes on there under other names while a control looks."""
    place.censor.rules = (Rule(exactly(NAME), RST),)
    held = list[bool]()

    def saw(trial: Trial) -> None:
        held.append(bool(place.quarantine.running(time.monotonic())))

    conclusion = await place.examine(saw=saw)
    control, target = Role.control, Role.target
    assert roles(conclusion) == [control, target, control, target, control]
    assert held == [False] * 5
    assert not place.quarantine.running(time.monotonic())


async def test_the_endpoint_is_held_when_a_test_is_broken_off_after_a_cut(place: Place):
    place.censor.rules = (Rule(exactly(NAME), RST),)

    def saw(trial: Trial) -> None:
        if trial.role is Role.target:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await place.examine(saw=saw)
    assert place.quarantine.running(time.monotonic())


async def test_a_name_is_shown_once_more_at_most_where_another_one_comes_first(place: Place):
    place.censor.rules = (Rule(exactly(NAME), RST, residual=Residual(0.5)),)
    conclusion = await place.examine(once=True)
    assert roles(conclusion) == [Role.control, Role.target]
    assert place.quarantine.until(f"127.0.0.1:{place.port}", time.monotonic()) is not None


class Listening:
    """Keeps the conclusions."""

    def __init__(self, concluded: list[Conclusion]) -> None:
        self._concluded = concluded

    def answered_since(self, endpoint: str, moment: float) -> frozenset[str]:
        return frozenset()

    def quarantined(self, case: Case) -> None:
        raise AssertionError("held without evidence")

    def progressed(self, case: Case, finding: Finding) -> None:
        pass

    def concluded(self, case: Case, conclusion: Conclusion) -> None:
        self._concluded.append(conclusion)


class Sparing(Listening):
    """Keeps what is held too."""

    def __init__(self, *answered: str) -> None:
        self.conclusions: list[Conclusion] = []
        super().__init__(self.conclusions)
        self.held: list[Case] = []
        self._answered = frozenset(answered)

    def answered_since(self, endpoint: str, moment: float) -> frozenset[str]:
        return self._answered

    def quarantined(self, case: Case) -> None:
        self.held.append(case)


SHUT = 1.6
"""Seconds that a censor remembers: longer than the controls take that are sent at once, and longer
than an endpoint is held."""


async def begin(place: Place, listener: Sparing, **more: Any) -> BlockTests:
    """Show the name, which shuts the endpoint, and examine it; at the `first` address before, where
    nobody answers."""
    residual = Residual(more.pop("shut", SHUT))
    place.censor.rules = more.pop("rules", (Rule(exactly(NAME), RST, residual=residual),))
    subject = Subject(NAME, "127.0.0.1", place.port, place.ca_file, fellows=(OTHER,))
    made = await attempt(Role.target, subject, "", TlsContexts(), TIMEOUTS)
    shown = time.monotonic() - more.pop("ago", 0.0)
    routine = Trial(Role.target, NAME, "127.0.0.1", place.port, NAME, made.decisive, shown)
    pace = more.pop("pace", PACE)
    tests = BlockTests(
        place.runner, TlsContexts(), place.quarantine, pace, listener, time.monotonic
    )
    first = more.pop("first", "")
    case = Case("m", subject, TIMEOUTS, before=(routine,), **more)
    if first:
        assert tests.suspect(replace(case, subject=replace(subject, address=first)))
    assert tests.suspect(case)
    return tests


async def test_a_name_that_is_spared_is_not_shown_again(place: Place):
    listener = Sparing()
    tests = await begin(place, listener, spared=True)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    endpoint, held = listener.held[0].endpoint, list[bool]()

    def over() -> bool:
        held.append(place.quarantine.until(endpoint, time.monotonic()) is not None)
        return bool(listener.conclusions)

    await wait_until_async(over, 30, "the end")
    (conclusion,) = listener.conclusions
    finding = conclusion.finding
    assert (finding.verdict, finding.level, finding.rule) == (
        "sni_block_rst",
        Level.suspected,
        "K",
    )
    assert finding.is_open
    assert Code.not_shown_again(name=NAME) in finding.evidence
    assert len(place.censor.handshakes(NAME)) == 1
    assert not tests.is_busy(NAME)
    assert True in held


async def test_a_server_that_was_stuck_is_used_again_before_the_hold_is_over(place: Place):
    patient = replace(PACE, residual_hold=600.0, first_glance=0.001)
    place.use(patient)
    listener, everything = Sparing(), (Rule(lambda read: True, RST),)
    tests = await begin(place, listener, pace=patient, alone=True, rules=everything)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    endpoint = listener.held[0].endpoint
    assert place.quarantine.until(endpoint, time.monotonic()) is not None
    place.censor.rules = ()
    await wait_until_async(lambda: bool(listener.conclusions), 30, "the end")
    (conclusion,) = listener.conclusions
    assert conclusion.finding.verdict == "ok"
    assert roles(conclusion) == [Role.target, Role.control, Role.target]
    assert place.quarantine.until(endpoint, time.monotonic()) is None
    assert not tests.is_busy(NAME)


@pytest.mark.parametrize("spared", [True, False])
async def test_an_address_is_left_alone_from_the_last_hello_that_was_cut_off(
    place: Place, spared: bool
):
    left_alone = list[bool]()

    class Watching(Sparing):
        def quarantined(self, case: Case) -> None:
            super().quarantined(case)
            until = place.quarantine.until(case.endpoint, time.monotonic())
            left_alone.append(until is not None)

    listener, slow = Watching(), 2 * PACE.residual_hold  # as long as silence takes to be told
    tests = await begin(place, listener, spared=spared, shut=600.0, ago=slow)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    assert left_alone == [True]
    await tests.stop()


async def test_a_name_that_is_spared_is_shown_while_that_shuts_nothing(place: Place):
    listener = Sparing()
    await begin(place, listener, spared=True, shut=0.0)
    await wait_until_async(lambda: bool(listener.conclusions), 30, "the end")
    (conclusion,) = listener.conclusions
    assert (conclusion.finding.verdict, conclusion.finding.rule) == ("sni_block_rst", "A")
    assert listener.held == []


async def test_traffic_that_is_answered_ends_the_wait(place: Place):
    listener = Sparing()
    tests = await begin(place, listener, spared=True, shut=600.0)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    tests.contradicted(listener.held[0].endpoint, OTHER)
    await wait_until_async(lambda: bool(listener.conclusions), 30, "the end")
    assert listener.conclusions[0].finding.verdict == "sni_block_rst"


async def test_a_name_that_is_spared_is_left_once_requests_are_answered_under_another_one(
    place: Place,
):
    listener = Sparing(OTHER)
    await begin(place, listener, spared=True, shut=600.0)
    await wait_until_async(lambda: bool(listener.conclusions), 30, "the end")
    (conclusion,) = listener.conclusions
    assert (conclusion.finding.verdict, conclusion.finding.rule) == ("sni_block_rst", "K")
    assert listener.held == [], "nothing is shut any more"
    assert len(place.censor.handshakes(NAME)) == 1


async def test_a_spared_name_that_is_examined_elsewhere_is_blamed_and_not_shown(place: Place):
    listener = Sparing()
    tests = await begin(place, listener, spared=True, shut=600.0)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    (first,) = listener.held
    dead = replace(first, subject=replace(first.subject, address="127.0.0.3"))
    assert not tests.suspect(replace(dead, spared=False))
    assert tests.suspect(dead), "else the next name to be cut off there would be blamed"
    await wait_until_async(lambda: len(listener.held) == 2, 30, "the other glance")
    assert place.quarantine.until(dead.endpoint, time.monotonic()) is not None
    await tests.stop()
    assert len(place.censor.handshakes(NAME)) == 1


async def test_a_name_that_is_examined_elsewhere_is_not_shown_where_nothing_is_shut(place: Place):
    listener = Sparing()
    tests = await begin(place, listener, spared=True, shut=0.0, first="127.0.0.3")
    await wait_until_async(lambda: not tests.is_busy(f"127.0.0.1:{place.port}"), 30, "the end")
    assert tests.is_busy(NAME)
    await tests.stop()
    assert len(place.censor.handshakes(NAME)) == 1


async def test_a_server_that_is_down_is_left_to_the_probes(place: Place):
    listener = Sparing()
    tests = await begin(place, listener, spared=True, shut=600.0)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    await place.censor.become("refuse")
    await wait_until_async(lambda: not tests.is_busy(NAME), 30, "the end")
    assert listener.conclusions == []


async def test_a_name_that_is_answered_itself_is_examined_no_further(place: Place):
    listener = Sparing()
    tests = await begin(place, listener, spared=True, shut=600.0)
    await wait_until_async(lambda: bool(listener.held), 30, "the glance")
    tests.contradicted(listener.held[0].endpoint, NAME)
    await wait_until_async(lambda: not tests.is_busy(NAME), 30, "the end")
    assert listener.conclusions == []


@pytest.mark.parametrize(
    ("answered", "more"),
    [
        ([OTHER], {"shut": 600.0}),
        ([NAME, OTHER], {"shut": 600.0, "spared": True}),
        ([], {"shut": 0.0, "erratic": True}),
    ],
    ids=["traffic is answered after the cut", "also under the name", "the name comes and goes"],
)
async def test_an_endpoint_that_answers_by_turns_is_neither_held_nor_examined(
    place: Place, answered: list[str], more: dict[str, Any]
):
    listener = Sparing(*answered)
    tests = await begin(place, listener, **more)
    await wait_until_async(lambda: not tests.is_busy(NAME), 30, "the end")
    assert (listener.held, listener.conclusions) == ([], [])
    assert len(place.censor.handshakes(NAME)) == 1
    assert not place.quarantine.running(time.monotonic())


async def test_a_control_name_that_a_reload_replaces_during_a_wait_is_not_shown(place: Place):
    async def sleep(seconds: float) -> None:
        place.runner.configure((OTHER,))

    place.use(PACE, sleep=sleep, heard=lambda: None)
    conclusion = await place.examine(triggered=time.monotonic() - PACE.residual_hold + 0.01)
    shown = [trial.sni for trial in conclusion.trials if trial.role is Role.control]
    assert shown
    assert "control.test" not in shown
