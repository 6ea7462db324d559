"""Checks of a mirror's own key: the request, its schedule, and refusals that count."""

from __future__ import annotations

import json
from typing import Any

from monitor.common.config import MirrorConfig
from monitor.diagnosis.answer import meaning_of
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import KEY_REFUSED
from monitor.probes.http import ResponseReader, exchange, head_of
from monitor.probes.opening import Opened
from monitor.probes.results import HttpAnswer, KeyCheck, Way

MAX_LIST = 1 << 20
"""Bytes of a list of models that are read; relays add long descriptions."""
MAX_MODELS = 1000
_MAX_NAME = 128
NOT_VERIFIED = "not_verified"


def authorization(mirror: MirrorConfig) -> str:
    """The field that carries the mirror's own key."""
    return f"Authorization: Bearer {mirror.api_key}"


async def check_key(
    opened: Opened, mirror: MirrorConfig, way: Way, agent: str, timeout: float
) -> KeyCheck:
    """List the models with the mirror's key, over a verified way only."""
    if opened.stream is None or not opened.verified:
        return KeyCheck(None, failure=opened.failure or NOT_VERIFIED)
    path = f"{mirror.base_path}/v1/models"
    head = head_of(mirror, path, way.hostname, agent, authorization(mirror))
    reader = ResponseReader(keep=MAX_LIST, most=MAX_LIST)
    step = await exchange(opened.stream, head, reader, way, timeout)
    if step.http is None:
        return KeyCheck(None, failure=step.failure)
    return judged(step.http)


def judged(answer: HttpAnswer) -> KeyCheck:
    """Meaning for the key of a response to a request with it."""
    verdict = meaning_of(answer, keyed=True).verdict
    if verdict in KEY_REFUSED:
        return KeyCheck(False, status=answer.status, verdict=verdict)
    models = models_in(answer) if answer.status == 200 else None
    if models is None:
        return KeyCheck(None, status=answer.status)
    return KeyCheck(True, models, status=200)


def models_in(answer: HttpAnswer) -> tuple[str, ...] | None:
    """The names in a list of models, each once; None if it is none, or was too long to read.

    Of a list that has more than can be kept, or goes on on another page, there are none.
    """
    try:
        parsed: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    entries = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        return None
    names = (entry.get("id") for entry in entries if isinstance(entry, dict))
    fit = (name for name in names if isinstance(name, str) and 0 < len(name) <= _MAX_NAME)
    found = tuple(dict.fromkeys(fit))
    return () if len(found) > MAX_MODELS or parsed.get("has_more") else found


PROOF = 2
"""Refusals in a row, of probes or of traffic and a probe, before a key is out of use: anything on
the way to a mirror without TLS, and a mirror with a hiccup, may say 401 once."""
_MOST = 32
"""Refusals that are counted: by then every pause is as long as it may be."""


class KeyCourse:
    """State of one key, and the time of its next check."""

    def __init__(self, pace: DiagnosisTiming) -> None:
        self.due = 0.0
        self._pace = pace
        self._began = float("-inf")
        self._refusals = 0
        self._doubted = False
        """True if traffic has met a refusal since the key was last found good."""
        self._called_for = float("-inf")
        """The time that was due when a check was last called for."""

    def __repr__(self) -> str:
        return f"<KeyCourse, refused {self._refusals} times, due {self.due}>"

    @property
    def is_held(self) -> bool:
        """True if the key is out of use."""
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
        """True if a check is due that regular probes are too rare for; told once for each."""
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
