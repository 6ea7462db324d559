"""Evaluation of states: results are taken into a mirror's state, one after the other.

A result that may have its cause in our own network waits until the other mirrors, or the anchors,
have been asked; when all fail alike, no mirror is blamed. Nor is a name that got no
answer while our resolvers answer about no name at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from monitor.diagnosis.answer import Meaning
from monitor.diagnosis.classify import UNKNOWN, could_be_ours, decisive, is_unanswered
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.witnesses import meaning_of
from monitor.engine.anchors import Anchors, ResolverWitness
from monitor.engine.mirror_state import MirrorState
from monitor.engine.prober import Probe
from monitor.engine.recorder import History
from monitor.engine.scheduler import SUSPECT_GAP, probe_budget, stale_after
from monitor.health.snapshot import Override, State
from monitor.health.state_machine import we_are_blind
from monitor.probes.results import OUT_OF_RESOURCES
from monitor.store.records import Transition

log = logging.getLogger(__name__)

_BLIND = Meaning.of("local_network_down", Code.our_network_down())
_NO_RESOLVER = Meaning.of("local_network_down", Code.our_resolver_silent())


def _in_words(change: Transition) -> str:
    if change.state is State.maintenance:
        return "in maintenance"
    why = "not probed yet" if change.verdict == UNKNOWN else change.verdict
    return f"{change.state}: {change.detail or why}"


class StateEvaluation:
    """Decides the states of mirrors, and records their changes."""

    def __init__(
        self,
        watches: Mapping[str, MirrorState],
        anchors: Anchors,
        resolver: ResolverWitness,
        history: History,
        vantage: str,
        suspect: Callable[[str], None],
        touched: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`suspect` has a mirror probed at once, `touched` has it shown anew."""
        self._interval = 0.0
        self._wishes: dict[str, tuple[Override, float | None]] = {}
        self._before: dict[str, Transition] = {}
        """The states before this start, until the first probe confirms or contradicts them."""
        self._watches = watches
        self._anchors = anchors
        self._resolver = resolver
        self._history = history
        self._vantage = vantage
        self._suspect = suspect
        self._touched = touched
        self._monotonic = monotonic

    def configure(self, interval: float) -> None:
        """Take the interval of probes."""
        self._interval = interval

    def start(
        self,
        wishes: Mapping[str, tuple[Override, float | None]],
        before: Mapping[str, Transition],
    ) -> None:
        """Take what was kept: the operator's wishes, and the states before this start."""
        self._wishes, self._before = dict(wishes), dict(before)

    def set_wish(self, mirror_id: str, wish: Override, until: float | None, now: float) -> bool:
        """Set the operator's override; True if the mirror is there to show it."""
        self._wishes[mirror_id] = (wish, until)
        if (watch := self._watches.get(mirror_id)) is None:
            return False
        watch.set_wish(wish, until)
        self.refresh(watch, now)
        return True

    def begin(self, watch: MirrorState, now: float) -> None:
        """Apply the operator's wish to a mirror that is new here."""
        watch.set_wish(*self._wishes.get(watch.mirror.id, (Override.use, None)))
        self._end_wish(watch, now)

    def judge(
        self, watch: MirrorState, probe: Probe, now: float, explained: Finding | None = None
    ) -> bool:
        """Take a result into the state; True if the next one should come soon.

        `explained`: the finding on our own surroundings that explains why a path failed.
        """
        if explained is not None and not probe.meaning.alive:
            watch.suspect_us(True)
            self._go_blind([watch], meaning_of(explained), now, explained.evidence)
            return False
        if decisive(probe.resolution, probe.paths).failure == OUT_OF_RESOURCES:
            self._go_blind([watch], probe.meaning, now)
            return False
        unresolved = self._resolver.silent and is_unanswered(probe.resolution, probe.paths)
        ours = not probe.meaning.alive and (unresolved or self._could_be_ours(probe))
        newly_ours = watch.suspect_us(ours)
        if unresolved:
            self._go_blind([watch], _NO_RESOLVER, now)
            return True
        if ours and (len(self._watches) > 1 or self._anchors):
            if self._are_blind():
                self._go_blind(self._watches.values(), _BLIND, now)
                return True
            if newly_ours:
                self._ask_the_others(watch)
            if self._others_are_due(watch):
                return True
        flipped = watch.observe(probe.meaning, now)
        self.refresh(watch, now, flipped)
        return watch.in_transition

    def _could_be_ours(self, probe: Probe) -> bool:
        """With anchors, whatever fails while they do; else what may have its cause in us."""
        if self._anchors:
            return self._anchors.silent
        return could_be_ours(decisive(probe.resolution, probe.paths))

    def _are_blind(self) -> bool:
        doubts = [watch.could_be_ours for watch in self._watches.values()]
        return all(doubts) if self._anchors else we_are_blind(doubts)

    def _go_blind(
        self,
        watches: Iterable[MirrorState],
        why: Meaning,
        now: float,
        evidence: tuple[Evidence, ...] = (),
    ) -> None:
        for watch in watches:
            self.refresh(watch, now, watch.blind(now, why, evidence))
            self._touched(watch.mirror.id)

    def _ask_the_others(self, watch: MirrorState) -> None:
        """Before this result counts, see whether the others fail in the same way."""
        watch.others_asked(self._monotonic())
        for mirror_id in self._watches:
            if mirror_id != watch.mirror.id:
                self._suspect(mirror_id)

    def _others_are_due(self, watch: MirrorState) -> bool:
        """True if others that were asked have not answered yet; for as long as they may take."""
        asked = watch.asked_others_at
        if self._monotonic() - asked > SUSPECT_GAP + probe_budget(self._interval):
            return False
        return not all(w is watch or w.heard_since(asked) for w in self._watches.values())

    def refresh(self, watch: MirrorState, now: float, flipped: bool = False) -> None:
        """Bring what is shown in line; history records a change."""
        change = watch.refresh(now, self._vantage, flipped)
        if change is None:
            return
        before = self._before.pop(watch.mirror.id, None)
        if before is not None and before.state is change.state:
            watch.continue_since(before.at)
            return
        self._history.changed(change)
        log.info("%s is %s", change.mirror_id, _in_words(change))

    def expire(self, watch: MirrorState, now: float) -> bool:
        """End what was for a time; whether anything changed."""
        wish = watch.wish
        changed = self._end_wish(watch, now)
        if changed:
            log.info("the %s of %s has ended", wish, watch.mirror.id)
        if watch.is_stale(self._monotonic() - stale_after(self._interval)):
            changed = watch.blind(now) or changed
        if changed:
            self.refresh(watch, now)
        return changed

    def _end_wish(self, watch: MirrorState, now: float) -> bool:
        """End the operator's wish if it was for a time that has passed; whether it was."""
        over = watch.wish_is_over(now)
        if over:
            watch.set_wish(Override.use, None)
            self._wishes.pop(watch.mirror.id, None)
        return over
