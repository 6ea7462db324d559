"""One request's way through a worker, as `router/forwarding/exchange.py` has it, without bytes.

It asks the real `Pool` for an attempt and the real `retry.decide` for another one. What must never
happen is looked for here, in whatever is simulated: an attempt after content has reached the
client, and a second sending of what must not be sent twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.simulation.mirrors import NEVER, Course, Seat
from benchmarks.simulation.rivals import Chooser, Trying
from benchmarks.simulation.world import World
from router.balancing.failure import TRAITS, Done, Failure
from router.balancing.load import Kind
from router.balancing.retry import (
    ALLOWED,
    Commit,
    Repeat,
    Tries,
    Why,
    decide,
    has_another_chance,
)
from router.balancing.timeouts import Classes, leave_early
from router.forwarding.config import RouterConfig

CHAT = Kind("chat", stream=True)


class BrokenPromise(AssertionError):
    """Something happened that must never happen."""


@dataclass(slots=True)
class Job:
    """A client's request, and its result."""

    began: float
    stream_seconds: float
    kind: Kind = CHAT
    repeat: Repeat = Repeat.once
    leaves_after: float = NEVER
    """The client's patience."""
    first_content: float | None = None
    """Seconds until the client had content."""
    outcome: str = ""
    """"done", "left", or why it failed."""
    attempts: list[tuple[float, str]] = field(default_factory=list)
    """When which mirror was tried."""
    sent: int = 0
    """Attempts in which something of it was sent."""
    failures: list[Failure] = field(default_factory=list)
    ambiguous: int = 0
    """Repeats of what may have been done already."""


@dataclass(slots=True)
class Worker:
    """State that the requests of one worker share."""

    world: World
    config: RouterConfig
    chooser: Chooser
    classes: Classes
    rng: random.Random
    done: Callable[[Job], None]


class Way:
    """One request in one worker."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self._worker = worker
        self._world = worker.world
        self._job = job
        self._tries = Tries(job.repeat, job.began)
        self._tried: set[str] = set()
        self._attempt: Trying | None = None
        self._baseline = worker.chooser.baselines.of(job.kind, job.began)
        self._patience = worker.classes.patience(job.kind.endpoint, "", job.kind.stream)
        worker.chooser.budget.request(job.began)
        if job.leaves_after < NEVER:
            self._world.after(job.leaves_after, self._left)
        self._begin_attempt()

    def _accepts(self, seat: Seat) -> bool:
        if seat.id in self._tried or not seat.available:
            return False
        return not self._worker.chooser.blocks.until(seat.id, None, self._world.now)

    def _begin_attempt(self) -> None:
        job, now = self._job, self._world.now
        if job.first_content is not None:
            raise BrokenPromise("an attempt after content reached the client")
        another = has_another_chance(self._tries, self._worker.config.retry)
        attempt = self._worker.chooser.choose(
            self._accepts,
            self._baseline,
            now,
            repeatable=another and job.repeat is not Repeat.never,
            again=bool(self._tried),
        )
        if attempt is None:
            self._end("no mirror" if not job.failures else job.failures[-1])
            return
        self._attempt = attempt
        self._tried.add(attempt.member.id)
        job.attempts.append((now, attempt.member.id))
        attempt.member.mirror.in_flight += 1
        self._follow(attempt, attempt.member.mirror.course(self._worker.rng, now))

    def _follow(self, attempt: Trying, course: Course) -> None:
        job, limits = self._job, self._patience
        if course.commit > Commit.nothing_sent or course.failure is None:
            job.sent += 1
            attempt.sent(self._world.now)
            if job.repeat is Repeat.never and job.sent > 1:
                raise BrokenPromise("sent twice what must be sent once")
        head = min(course.head, course.first)
        limit = limits.head if head > limits.head else limits.content
        if course.first > limit:
            late = Failure.timeout if head > limits.head else Failure.content_timeout
            commit = Commit.request_sent if late is Failure.timeout else Commit.comments_sent
            self._later(limit, attempt, partial(self._failed, late, commit, None))
        elif course.failure is not None:
            wait = course.retry_after
            fail = partial(self._failed, course.failure, course.commit, wait)
            self._later(course.first, attempt, fail)
        else:
            self._later(course.first, attempt, partial(self._content, course))
        soft = self._baseline.soft_limit
        if soft < min(course.first, limit) and job.repeat is not Repeat.never:
            self._later(soft + 0.001, attempt, self._overdue)

    def _later(self, seconds: float, attempt: Trying, what: Callable[[], None]) -> None:
        """Let something happen unless the attempt is over by then."""
        self._world.after(seconds, lambda: what() if self._attempt is attempt else None)

    def _overdue(self) -> None:
        """The wheel looks once a second."""
        attempt = self._attempt
        if attempt is None or self._job.first_content is not None:
            return
        load, now = attempt.member.load, self._world.now
        overdue, waited = load.overdue(now), now - self._job.attempts[-1][0]
        silent = load.answered_at <= now - waited
        suspect = not attempt.member.breaker.closed
        if silent and leave_early(
            waited, self._baseline, suspect=suspect, dead=False, overdue=overdue
        ):
            self._failed(Failure.slow, Commit.request_sent, None)
        else:
            self._later(1.0, attempt, self._overdue)

    def _content(self, course: Course) -> None:
        attempt, job = self._attempt, self._job
        assert attempt is not None
        job.first_content = self._world.now - job.began
        attempt.content(self._world.now)
        if course.cut is not None:
            cut = partial(self._failed, course.cut, Commit.content_sent, None)
            self._later(job.stream_seconds / 2, attempt, cut)
        else:
            self._later(job.stream_seconds, attempt, self._succeeded)

    def _succeeded(self) -> None:
        attempt = self._release()
        attempt.succeeded(self._world.now)
        self._end("done")

    def _failed(self, failure: Failure, commit: Commit, wait: float | None) -> None:
        attempt, job, worker = self._release(), self._job, self._worker
        now, chooser = self._world.now, worker.chooser
        job.failures.append(failure)
        if failure is Failure.limited:
            chooser.blocks.block(attempt.member.id, None, wait, now)
        attempt.failed(failure, now, retry_after=wait is not None)
        rules = worker.config.retry
        why = decide(failure, commit, self._tries, rules, chooser.budget, now, replayable=True)
        if why not in ALLOWED:
            self._end(failure)
            return
        if TRAITS[failure].done is Done.begun:
            raise BrokenPromise("a repeat of what had begun")
        job.ambiguous += why is Why.ambiguous
        self._begin_attempt()

    def _release(self) -> Trying:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        attempt.member.mirror.in_flight -= 1
        return attempt

    def _left(self) -> None:
        if self._job.outcome:
            return
        if self._attempt is not None:
            self._release().passed_on()
        self._end("left")

    def _end(self, outcome: str) -> None:
        if self._job.outcome:
            raise BrokenPromise("a request ended twice")
        self._job.outcome = outcome
        self._worker.done(self._job)
