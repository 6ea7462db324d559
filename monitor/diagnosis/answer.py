"""What a response to `GET /v1/models` without a key says about a mirror.

The first matching rule wins, so read `meaning_of` from above: pages made by a CDN before what
the mirror itself says. Without a key OpenAI answers 401, which is as good as 200.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.diagnosis.cdn import detect_cdn
from monitor.probes.result import HttpAnswer

OK = "ok"
_QUOTA = ("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached")
_REGION = "unsupported_country_region_territory"
_CLOUDFLARE_CODE = re.compile(rb"(?:error code:|Error</?[^>]*>?)\s*(1[0-9]{3})\b", re.IGNORECASE)
_CLOUDFLARE_RATE_LIMIT = "1015"
"""https://developers.cloudflare.com/support/troubleshooting/http-status-codes/"""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A verdict, whether the mirror can serve in spite of it, and a sentence for people."""

    verdict: str
    alive: bool
    sentence: str = ""


def meaning_of(answer: HttpAnswer) -> Meaning:
    """Judge one response."""
    parsed = _json(answer)
    return _cdn_page(answer, parsed) or _own_answer(answer, parsed)


def _cdn_page(answer: HttpAnswer, parsed: Any) -> Meaning | None:
    headers, status = answer.headers, answer.status
    cdn = detect_cdn(headers)
    if headers.get("cf-mitigated") == "challenge":
        return Meaning(
            "cdn_challenge", False, "its CDN asks for a challenge that only a browser solves"
        )
    if cdn == "cloudflare" and status == 524:
        return Meaning("cdn_origin_timeout", False, "its CDN waited too long for the origin (524)")
    if cdn == "cloudflare" and (520 <= status <= 526 or status == 530):
        return Meaning("cdn_origin_error", False, f"its CDN cannot reach the origin ({status})")
    code = "" if isinstance(parsed, dict) else _cloudflare_code(answer)
    if cdn == "cloudflare" and status in (403, 429) and code:
        if code == _CLOUDFLARE_RATE_LIMIT:
            return Meaning("cdn_rate_limited", True, "its CDN limits our rate (1015)")
        return Meaning("cdn_access_denied", False, f"its CDN denies us access ({code})")
    return None


def _own_answer(answer: HttpAnswer, parsed: Any) -> Meaning:
    status = answer.status
    if status >= 500:
        return Meaning("upstream_overloaded", False, f"it answers {status}")
    if 300 <= status < 400:
        return Meaning("http_diff", False, f"it redirects ({status}) instead of answering")
    if status in (404, 405):
        return Meaning(OK, True)
    if not isinstance(parsed, dict) and not _looks_like_a_long_list(answer):
        return Meaning("http_diff", False, f"it answers {status} with {_kind(answer)}, not the API")
    if status == 401 or (status == 200 and _is_list(answer, parsed)):
        return Meaning(OK, True)
    return _refusal(status, _error_words(parsed))


def _refusal(status: int, words: str) -> Meaning:
    if _REGION in words:
        return Meaning("upstream_region_ban", True, "the API does not serve this mirror's region")
    if any(quota in words for quota in _QUOTA):
        return Meaning("upstream_quota", True, "its quota is used up")
    if status == 429:
        return Meaning("upstream_rate_limited", True, "it limits the rate of probes (429)")
    if status == 403:
        return Meaning("upstream_forbidden", True, "it refuses the probe (403)")
    return Meaning("upstream_unexpected", True, f"it answers {status} to a request without key")


def _json(answer: HttpAnswer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _is_list(answer: HttpAnswer, parsed: Any) -> bool:
    if isinstance(parsed, Mapping):
        return isinstance(parsed.get("data"), list)
    return _looks_like_a_long_list(answer)


def _looks_like_a_long_list(answer: HttpAnswer) -> bool:
    """A list of models that is longer than what is read of it."""
    start = answer.body[:4096].lstrip()
    return not answer.complete and start.startswith(b"{") and b'"data"' in start


def _error_words(parsed: Any) -> str:
    """Code and type of an error: OpenAI nests them in `error`, some relays do not."""
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else {}
    if not isinstance(error, dict):
        return ""
    return f"{error.get('code')} {error.get('type')}"


def _cloudflare_code(answer: HttpAnswer) -> str:
    match = _CLOUDFLARE_CODE.search(answer.body)
    return match[1].decode() if match else ""


def _kind(answer: HttpAnswer) -> str:
    start = answer.body[:256].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "an HTML page"
    return "a text" if start else "nothing"
