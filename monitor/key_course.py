"""When a mirror's own key is asked about again, and which refusals take it out of use.

Does no I/O and takes the time as an argument.
"""

from __future__ import annotations

from monitor.diagnosis.pace import Pace

PROOF = 2
"""Refusals in a row, of probes or of traffic and a probe, before a key is out of use: anything on
the way to a mirror without TLS, and a mirror with a hiccup, may say 401 once."""
_MOST = 32
"""Refusals that are counted: by then every pause is as long as it may be."""


class KeyCourse:
    """What is known of one key, and when it is asked about next."""

    def __init__(self, pace: Pace) -> None:
        self.due = 0.0
        self._pace = pace
        self._began = float("-inf")
        self._refusals = 0
        self._doubted = False
        """Whether traffic has met a refusal since the key was last found good."""
        self._called_for = float("-inf")
        """The time that was due when a check was last called for."""

    def __repr__(self) -> str:
        return f"<KeyCourse, refused {self._refusals} times, due {self.due}>"

    @property
    def is_held(self) -> bool:
        """Whether the key is out of use."""
        return self._refusals + self._doubted >= PROOF and self._refusals > 0

    def doubt(self, now: float) -> None:
        """Traffic has met a refusal: the check is due at once, but a while after the last one."""
        if not self.is_held:
            self._doubted = True
            self.due = min(self.due, max(now, self._began + self._pace.key_again))

    def begins(self, now: float) -> None:
        """A check begins; the next one is due after the usual time, whatever becomes of it."""
        self._began, self.due = now, now + self._pause

    def ends(self, valid: bool | None, now: float, share: float) -> bool:
        """Take what a check found; whether it is to be believed. `share` of the pause is waited."""
        if valid:
            self._refusals, self._doubted = 0, False
        elif valid is False:
            self._refusals = min(self._refusals + 1, _MOST)
        self.due = now + self._pause * share
        return valid is True or (valid is False and self.is_held)

    def calls(self, now: float) -> bool:
        """Whether a check is due that regular probes are too rare for; told once for each."""
        wanted = (self._refusals or self._doubted) and now >= self.due != self._called_for
        if wanted:
            self._called_for = self.due
        return bool(wanted)

    @property
    def _pause(self) -> float:
        """Seconds between two checks: short while a refusal is to be confirmed, then doubling."""
        pace, refusals = self._pace, self._refusals
        if not refusals:
            return pace.keyed_interval
        if not self.is_held:
            return pace.key_confirm
        return min(pace.key_again * 2.0 ** max(refusals - PROOF, 0), pace.keyed_interval)
