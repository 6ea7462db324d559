"""Control's side of the breakers: how often a mirror was ejected, and who may try it.

Pure state: every call says what has changed, and whoever calls tells the workers.

    a worker's word      answered by
    Failed               Standing, to all, when all workers together have seen enough
    Tripped              the mirror's Standing, to all workers, also when nobody may be ejected
    Asked                Granted, to that worker; while another one has it unused, Recalled to that
                         other one; Standing when the mirror is not on trial
    Begun                nothing
    Ended                Standing, to all, when it has changed
    Standing             the same, to all, if it was new: what a worker knew before this control
                         process began

A lease that is not used yet has no deadline, so that a mirror comes back however little traffic
there is; one in use is over after `lease_seconds`, and what comes of it later is ignored.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from router.balancing.breaker import Lease, Phase, Standing
from router.balancing.breaker_messages import (
    Asked,
    Begun,
    Ended,
    Failed,
    Granted,
    Recalled,
    Tripped,
    Word,
)
from router.balancing.config import EjectionConfig
from router.balancing.ejection import (
    Cause,
    FailureWatch,
    UplinkWatch,
    ejection_seconds,
    forgiven,
    may_eject,
)
from router.balancing.failure import TRAITS, Blame

RISE = 2
"""Successes that end an ejection (HAProxy's `rise`)."""
RECALL_AFTER = 2.0
"""Seconds that an unused lease is left alone."""
_NEVER: Final = float("inf")


@dataclass(slots=True)
class _Case:
    standing: Standing
    watch: FailureWatch
    place: str
    lease: Lease | None = None
    holder: str = ""
    granted_at: float = 0.0
    until: float = _NEVER
    successes: int = 0
    probe_failed: bool = False
    """True if a probe has failed since it was ejected: then one that does not is news."""


class Leases:
    """Where all mirrors stand."""

    def __init__(
        self,
        rules: EjectionConfig,
        lease_seconds: float,
        rng: random.Random,
        first_token: int = 0,
    ) -> None:
        """`lease_seconds`: the limits to connect and to the first content, and one second.
        `first_token`: above all that an earlier control process gave out; workers remember one."""
        self.rules = rules
        self.lease_seconds = lease_seconds
        self._rng = rng
        self._token = first_token
        self._cases: dict[str, _Case] = {}
        self._usable: frozenset[str] = frozenset()
        self._uplink = UplinkWatch()

    def __repr__(self) -> str:
        return f"<Leases {len(self.ejected)} of {len(self._cases)} ejected, {self.held} held>"

    @property
    def ejected(self) -> list[str]:
        """Mirrors that are not in rotation because of their traffic."""
        cases = self._cases.items()
        return [mirror for mirror, case in cases if case.standing.phase is not Phase.closed]

    @property
    def held(self) -> int:
        """Leases that somebody has, used or not."""
        return sum(case.lease is not None for case in self._cases.values())

    @property
    def in_use(self) -> int:
        """Attempts that try an ejected mirror now."""
        return sum(case.lease is not None and case.until < _NEVER for case in self._cases.values())

    def standings(self) -> list[Standing]:
        """Every mirror's."""
        return [case.standing for case in self._cases.values()]

    def news(self) -> list[Standing]:
        """For a worker that has just come: of those mirrors that were ever ejected. Of the others
        a young control process knows less than the workers may."""
        return [standing for standing in self.standings() if standing.since > 0.0]

    def standing(self, mirror: str) -> Standing:
        """One mirror's."""
        case = self._cases.get(mirror)
        return case.standing if case is not None else Standing(mirror)

    def configure(self, rules: EjectionConfig, lease_seconds: float) -> None:
        """Take new settings."""
        self.rules, self.lease_seconds = rules, lease_seconds
        for case in self._cases.values():
            case.watch.rules = rules

    def mirrors(self, known: Mapping[str, str], usable: Iterable[str]) -> None:
        """Take which mirrors there are, by id with their URL, and which of them operator and
        probes allow. One that has moved to another URL is a new one."""
        old = self._cases
        self._cases = {
            mirror: old[mirror]
            if mirror in old and old[mirror].place == place
            else _Case(Standing(mirror), FailureWatch(self.rules), place)
            for mirror, place in known.items()
        }
        self._uplink.keep(self._cases)
        self._usable = frozenset(usable)

    def hear(self, worker: str, word: Word, now: float) -> list[tuple[str | None, Word]]:
        """Take a worker's word. Returns the words to send, each with its worker (None: all)."""
        if isinstance(word, Asked):
            return self._asked(word.mirror, worker, now)
        standing: Standing | None = None
        if isinstance(word, Failed):
            standing = self._failed(word, now)
        elif isinstance(word, Tripped):
            standing = self._tripped(word, now)
        elif isinstance(word, Ended):
            standing = self._ended(word.lease, word.ok, now)
        elif isinstance(word, Begun):
            self._begun(word.lease, now)
        elif isinstance(word, Standing):
            standing = self._adopt(word)
        return [] if standing is None else [(None, standing)]

    def _failed(self, word: Failed, now: float) -> Standing | None:
        case = self._cases.get(word.mirror)
        if case is None or case.standing.phase is not Phase.closed:
            return None
        if word.successes:
            self._uplink.succeeded(word.mirror)
        if TRAITS[word.failure].blame is Blame.local:
            self._uplink.failed(word.mirror, now)
        case.watch.succeeded(now, word.successes)
        cause = case.watch.failed(word.failure, word.weight, now)
        if cause is None or self._uplink.suspect(len(self._usable), now):
            return None
        count = forgiven(case.standing.count, now - case.standing.since) + 1
        until = now + ejection_seconds(count, cause, self.rules, self._rng)
        return self._tripped(Tripped(word.mirror, cause, until), now)

    def _tripped(self, word: Tripped, now: float) -> Standing | None:
        """Several workers say so of one outage: the count does not grow, the later deadline
        counts."""
        case = self._cases.get(word.mirror)
        if case is None:
            return None
        was = case.standing
        if was.phase is Phase.closed:
            if may_eject(word.mirror, self.ejected, self._usable, self.rules.max_percent):
                count = forgiven(was.count, now - was.since) + 1
                self._eject(case, count, word.cause, word.until, now)
        elif was.phase is Phase.open:
            cause = was.cause if word.cause is Cause.unreachable else word.cause
            case.standing = replace(was, until=max(was.until, word.until), cause=cause)
        return case.standing

    def _eject(
        self, case: _Case, count: int, cause: Cause | None, until: float, now: float
    ) -> None:
        case.standing = Standing(case.standing.mirror, Phase.open, now, until, count, cause)
        case.lease, case.successes, case.probe_failed = None, 0, False
        case.watch.reset()

    def probed(self, mirror: str, ok: bool, now: float) -> Standing | None:
        """A probe has ended. It can only show what a connection shows: that the mirror can be
        reached again; a passing `/v1/models` does not bring back who fails completions. But where
        probes failed too, the first that does not ends the wait for a trial."""
        case = self._cases.get(mirror)
        if case is None or case.standing.phase is Phase.closed:
            return None
        early = ok and case.probe_failed and case.standing.phase is Phase.open
        if early:
            self._begin_trial(case, now)
        case.probe_failed = case.probe_failed or not ok
        if not self._is_on_trial(case, now):
            return None
        if case.standing.cause is not Cause.unreachable:
            return case.standing if early else None
        return self._judge(case, ok, now)

    def _adopt(self, standing: Standing) -> Standing | None:
        case = self._cases.get(standing.mirror)
        if case is None or case.standing != Standing(standing.mirror):
            return None
        case.standing = standing
        return standing

    def _asked(self, mirror: str, worker: str, now: float) -> list[tuple[str | None, Word]]:
        case = self._cases.get(mirror)
        if case is None:
            return []
        if not self._is_on_trial(case, now):
            return [(worker, case.standing)]
        if case.lease is None:
            self._token += 1
            case.lease, case.holder = Lease(mirror, self._token), worker
            case.granted_at, case.until = now, _NEVER
        elif case.until < _NEVER:
            return []
        elif case.holder != worker:
            recall = now - case.granted_at >= RECALL_AFTER
            return [(case.holder, Recalled(case.lease))] if recall else []
        return [(worker, Granted(case.lease))]

    def _begun(self, lease: Lease, now: float) -> None:
        case = self._cases.get(lease.mirror)
        if case is not None and case.lease == lease:
            case.until = now + self.lease_seconds

    def _is_on_trial(self, case: _Case, now: float) -> bool:
        standing = case.standing
        if standing.phase is Phase.open and now >= standing.until:
            self._begin_trial(case, now)
        return case.standing.phase is Phase.trial

    @staticmethod
    def _begin_trial(case: _Case, now: float) -> None:
        case.standing = replace(case.standing, phase=Phase.trial, since=now)
        case.successes = 0

    def _ended(self, lease: Lease, ok: bool | None, now: float) -> Standing | None:
        """A result that comes too late, or is not of this lease, is ignored."""
        case = self._cases.get(lease.mirror)
        if case is None or case.lease != lease:
            return None
        late, case.lease = now >= case.until, None
        return None if ok is None or late else self._judge(case, ok, now)

    def _judge(self, case: _Case, ok: bool, now: float) -> Standing:
        if not ok:
            count = case.standing.count + 1
            cause = case.standing.cause
            until = now + ejection_seconds(count, cause, self.rules, self._rng)
            self._eject(case, count, cause, until, now)
        else:
            case.successes += 1
            if case.successes >= RISE:
                closed = Standing(case.standing.mirror, since=now, count=case.standing.count)
                case.standing, case.lease = closed, None
        return case.standing

    def expire(self, now: float) -> None:
        """Take back leases whose time is over; call it once a second."""
        for case in self._cases.values():
            if case.lease is not None and now >= case.until:
                case.lease = None

    def worker_left(self, worker: str) -> None:
        """A worker has ended, and with it what it held."""
        for case in self._cases.values():
            if case.lease is not None and case.holder == worker:
                case.lease = None
