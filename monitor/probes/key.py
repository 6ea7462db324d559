"""Is the mirror's own key good, and which models does the mirror list for it?"""

from __future__ import annotations

import json
from typing import Any

from monitor.config import MirrorConfig
from monitor.diagnosis.answer import meaning_of
from monitor.probes.request import ResponseReader, exchange, head_of
from monitor.probes.result import HttpAnswer, KeyCheck, Way
from monitor.probes.way import Opened

MAX_LIST = 1 << 20
"""Bytes of a list of models that are read; relays add long descriptions."""
MAX_MODELS = 1000
_MAX_NAME = 128
NOT_VERIFIED = "not_verified"
REFUSALS = frozenset(
    {"upstream_key_invalid", "upstream_ip_not_allowed", "upstream_quota", "upstream_region_ban"}
)
"""Verdicts on an answer after which the key is of no use there."""


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
    """What a response to a request with the key means for the key."""
    verdict = meaning_of(answer, keyed=True).verdict
    if verdict in REFUSALS:
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
