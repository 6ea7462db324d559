"""A real completion, as short as can be: the one probe that costs tokens."""

from __future__ import annotations

import json
from typing import Any

from monitor.config import MirrorConfig
from monitor.probes.key import NOT_VERIFIED, authorization
from monitor.probes.request import ResponseReader, exchange, head_of
from monitor.probes.result import Canary, HttpAnswer, Way
from monitor.probes.way import Opened

ASSUMED = 50
"""Tokens that are charged to the account where the mirror does not say what it took."""
MOST = 100_000
"""What a mirror may say at most: more would be a mistake, or a lie that stops later canaries."""


async def sing(
    opened: Opened, mirror: MirrorConfig, way: Way, model: str, agent: str, timeout: float
) -> Canary:
    """Ask `model` for one token with the mirror's key, over a verified way only."""
    if opened.stream is None or not opened.verified:
        return Canary(opened.failure or NOT_VERIFIED)
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
    ).encode()
    head = head_of(
        mirror,
        f"{mirror.base_path}/v1/chat/completions",
        way.hostname,
        agent,
        authorization(mirror),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        method="POST",
    )
    step = await exchange(opened.stream, head + body, ResponseReader(), way, timeout)
    if step.http is None:
        return Canary(step.failure, seconds=step.seconds, tokens=ASSUMED)
    failure, tokens = judged(step.http)
    return Canary(failure, step.http.status, step.seconds, step.first_byte, tokens)


def judged(answer: HttpAnswer) -> tuple[str | None, int]:
    """How it is no completion, or None if it is one, and the tokens that it took."""
    if answer.status != 200:
        return "http_unexpected_status_code", 0
    try:
        parsed: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "json_parse_error", ASSUMED
    if not isinstance(parsed, dict) or not isinstance(parsed.get("choices"), list):
        return "json_parse_error", ASSUMED
    return None, _total(parsed.get("usage"))


def _total(usage: Any) -> int:
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    fine = isinstance(total, int) and not isinstance(total, bool) and 0 <= total <= MOST
    return total if fine and total is not None else ASSUMED
