"""Meaning of a response to `GET /v1/models` for a mirror.

The first matching rule wins, so read `meaning_of` from above: pages made by a CDN before what
the mirror itself says. Without a key OpenAI answers 401, which is as good as 200; with the
mirror's own key 401 means that this key is not accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from monitor.diagnosis.cdn import detect_cdn
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.evidence import Evidence, Value
from monitor.diagnosis.verdicts import VERDICTS
from monitor.probes.results import HttpAnswer

OK = "ok"
OUT_OF_QUOTA = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    "insufficient_balance",
    "not_enough_balance",
    "account_deactivated",
)
"""Codes of errors: OpenAI's guide to error codes, and relays made with One API."""
_NOT_FOUND = frozenset({404, 405})
_ORIGIN = {
    "520": Clause.origin_odd,
    "521": Clause.origin_refuses,
    "522": Clause.origin_silent,
    "523": Clause.origin_unrouted,
    "525": Clause.origin_tls,
    "526": Clause.origin_certificate,
}
"""https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/;
530 comes with a code of its own, most often that the origin's name does not resolve (1016)."""
_REGION = "unsupported_country_region_territory"
_ADDRESS = ("ip_not_authorized", "ip not authorized")
"""https://platform.openai.com/docs/guides/error-codes, 401 "IP not authorized"."""
_CLOUDFLARE_CODE = re.compile(rb"(?:error code:|Error</?[^>]*>?)\s*(1[0-9]{3})\b", re.IGNORECASE)
_CLOUDFLARE_RATE_LIMIT = "1015"
"""https://developers.cloudflare.com/support/troubleshooting/http-status-codes/"""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A verdict, whether the mirror can serve in spite of it, and what was seen."""

    verdict: str
    alive: bool
    seen: Evidence | None = None
    """A clause for people."""

    @classmethod
    def of(cls, verdict: str, seen: Evidence | Clause | None = None, /, **values: Value) -> Meaning:
        """The meaning of a verdict as the registry has it; `values` are the clause's parameters."""
        if isinstance(seen, Clause):
            seen = Evidence.of(seen, **values)
        return cls(verdict, verdict == OK or VERDICTS[verdict].alive, seen)


def meaning_of(answer: HttpAnswer, *, keyed: bool = False) -> Meaning:
    """Judge one response; `keyed`: the request carried the mirror's own key."""
    parsed = _json(answer)
    return _cdn_page(answer, parsed) or _own_answer(answer, parsed, keyed)


def _cdn_page(answer: HttpAnswer, parsed: Any) -> Meaning | None:
    headers, status = answer.headers, answer.status
    if headers.get("cf-mitigated") == "challenge":
        return Meaning.of("cdn_challenge", Clause.challenge)
    if detect_cdn(headers) != "cloudflare" and "cf-error-type" not in headers:
        return None
    said = _cloudflare_says(headers)
    if status == 524 or said == "524":
        return Meaning.of("cdn_origin_timeout", Clause.origin_too_slow)
    if 520 <= status <= 526 or status == 530 or said.startswith("52"):
        number = said or str(status)
        why = Evidence.of(_ORIGIN.get(number, Clause.origin_lost))
        return Meaning.of("cdn_origin_error", Clause.origin_unreachable, status=number, why=why)
    code = said or ("" if isinstance(parsed, dict) else _cloudflare_code(answer))
    if code == _CLOUDFLARE_RATE_LIMIT:
        return Meaning.of("cdn_rate_limited", Clause.cdn_limits)
    if code and (status in (403, 429) or said):
        return Meaning.of("cdn_access_denied", Clause.cdn_denies, code=code)
    return None


def _cloudflare_says(headers: Mapping[str, str]) -> str:
    """The error that Cloudflare says it made itself: "1020", "522" or ""."""
    words = f"{headers.get('cf-error-type', '')} {headers.get('cf-error-origin', '')}"
    match = re.search(r"\b(1[0-9]{3}|52[0-9]|530)\b", words)
    return match[1] if match else ""


def _own_answer(answer: HttpAnswer, parsed: Any, keyed: bool) -> Meaning:
    status = answer.status
    if status >= 500:
        return Meaning.of("upstream_overloaded", Clause.answers, status=status)
    if 300 <= status < 400:
        return Meaning.of("http_diff", Clause.redirects, status=status)
    if status in _NOT_FOUND:
        return _without_a_list(answer, parsed)
    if not isinstance(parsed, dict) and not _looks_like_a_long_list(answer):
        return _page(answer)
    words = _error_words(parsed)
    if status in (401, 403) and any(sign in words.lower() for sign in _ADDRESS):
        return Meaning.of("upstream_ip_not_allowed", Clause.not_on_list)
    if status == 401 and keyed:
        return Meaning.of("upstream_key_invalid", Clause.own_key_refused)
    if status == 401 or (status == 200 and _is_list(answer, parsed)):
        return Meaning.of(OK)
    return _refusal(status, words)


def _page(answer: HttpAnswer) -> Meaning:
    """Something that is not the API's JSON."""
    kind = _kind(answer)
    return Meaning.of("http_diff", Clause.answers_otherwise, status=answer.status, kind=kind)


def _without_a_list(answer: HttpAnswer, parsed: Any) -> Meaning:
    """Judge a server without a list of models: what else it knows tells whether it is a relay."""
    status = answer.status
    if not is_strange(answer) or answer.completions not in _NOT_FOUND:
        return Meaning.of(OK)
    if parsed is None:
        return _page(answer)
    return Meaning.of("not_openai_api", Clause.answers_as_another_api, status=status)


def is_strange(answer: HttpAnswer | None) -> bool:
    """True if there is no list of models, and that is not said as OpenAI says it.

    A relay may do so too, so that it is asked about completions as well.
    """
    if answer is None or answer.status not in _NOT_FOUND:
        return False
    parsed = _json(answer)
    return not (isinstance(parsed, dict) and isinstance(parsed.get("error"), dict))


def _refusal(status: int, words: str) -> Meaning:
    if _REGION in words:
        return Meaning.of(
            "upstream_region_ban", Clause.region_not_served, status=status, code=_REGION
        )
    if quota := next((each for each in OUT_OF_QUOTA if each in words.lower()), ""):
        return Meaning.of("upstream_quota", Clause.quota_used_up, status=status, code=quota)
    if status == 429:
        return Meaning.of("upstream_rate_limited", Clause.limits_rate)
    if status == 403:
        return Meaning.of("upstream_forbidden", Clause.refuses_probe)
    return Meaning.of("upstream_unexpected", Clause.answers_oddly, status=status)


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
    """Code, type and message of an error: OpenAI nests them in `error`, some relays do not."""
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else {}
    if not isinstance(error, dict):
        return ""
    return " ".join(str(error.get(name, ""))[:200] for name in ("code", "type", "message"))


def _cloudflare_code(answer: HttpAnswer) -> str:
    match = _CLOUDFLARE_CODE.search(answer.body)
    return match[1].decode() if match else ""


def _kind(answer: HttpAnswer) -> Evidence:
    start = answer.body[:256].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return Evidence.of(Clause.html_page)
    return Evidence.of(Clause.some_text) if start else Evidence.of(Clause.empty_body)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a response asks us to wait (RFC 9110 section 10.2.3); `now`: epoch."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None
