"""Responses made here: added fields, error bodies, and their texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from router.admission.client_address import Client
from router.admission.credentials import Caller
from router.admission.errors import banned
from router.admission.key_index import IssuedKey
from router.admission.key_scope import refusal_of_key, refusal_of_model
from router.balancing.failure import OF_OWN_KEY, FailedAttempt, Failure
from router.balancing.retry import advice
from router.forwarding.context import WorkerContext
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy
from router.metering.metered_request import ANONYMOUS
from router.upstream.dialect import keepalive
from router.upstream.request_writer import VIA
from router.wire import cors
from router.wire.error_response import JSON_TYPE, QUEUE, Field, Problem, render, unauthorized
from router.wire.request import RequestHead

_MODELS = b"/v1/models"
_OUTAGES = (502, 503, 504)
_LONGEST_NAMED = 100
"""Characters of a model's name that an error quotes."""
_REQUEST_ID: Final = b"x-mirrorgate-request-id: "
_CONNECT: Final = b"\r\nserver-timing: connect;dur="
_FIRST_BYTE: Final = b", first-byte;dur="
_RETRIES: Final = b", retries;desc="
_VIA: Final = b"\r\nvia: " + VIA + b"\r\n"


def added_fields(
    context: WorkerContext,
    head: RequestHead,
    request_id: bytes,
    mirror: bytes,
    failed: int,
    connect_seconds: float,
    first_byte: float,
    queued: int = 0,
) -> bytes:
    """The fields that we add to a mirror's response, as they are written."""
    # Joined: to format eight bytes objects takes five times as long.
    added = b"".join(
        (
            _REQUEST_ID,
            request_id,
            _CONNECT,
            b"%.1f" % (connect_seconds * 1000) if connect_seconds else b"0.0",
            _FIRST_BYTE,
            b"%.1f" % (first_byte * 1000),
            _RETRIES,
            b"%d" % failed if failed else b"0",
            _VIA,
        )
    )
    if context.router.expose_mirror:
        added += b"x-mirrorgate-mirror: %b\r\n" % mirror
    if failed:
        added += b"x-mirrorgate-attempts: %d\r\n" % (failed + 1)
    if queued:
        added += b"%b: %d\r\n" % (QUEUE, queued)
    origin = head.look.get(b"origin")
    if origin is not None:
        for field in cors.response_fields(origin, context.router.cors_origins):
            added += b"%b: %b\r\n" % field
    return added


def preflight_answer(context: WorkerContext, head: RequestHead, keep_alive: bool) -> bytes:
    """The answer to a browser that asks whether its page may send a request."""
    fields = cors.preflight_fields(head.look, context.router.cors_origins)
    ending = [] if keep_alive else [(b"connection", b"close")]
    return render(204, [*fields, *ending], None)


def stream_head(context: WorkerContext, head: RequestHead, request_id: bytes, queued: int) -> bytes:
    """The head of a stream that begins with comments, before any mirror has answered; `queued`: its
    place in the queue, if it waits there."""
    fields = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        *([(QUEUE, b"%d" % queued)] if queued else ()),
        (b"x-mirrorgate-request-id", request_id),
        *cors.response_fields(head.look.get(b"origin"), context.router.cors_origins),
        (b"transfer-encoding", b"chunked"),
    ]
    return render(200, fields, None)


def keepalive_words(
    context: WorkerContext, policy: RequestPolicy, request_id: bytes, place: int = 0
) -> bytes:
    """Bytes for a client that waits for a stream, in the style of the settings; `place`: its one in
    the queue, if it waits there."""
    if context.router.stream.keepalive_style != "chunk":
        return keepalive(policy.dialect, place)
    named = {"id": f"chatcmpl-{request_id.decode()}", "created": int(context.wall())}
    return keepalive(policy.dialect, place, {**named, "model": policy.model})


def local_answer(
    context: WorkerContext, head: RequestHead, request_id: bytes, problem: Problem, keep_alive: bool
) -> bytes:
    """An error made here, as bytes; to a HEAD request without its body."""
    if problem.status in _OUTAGES:
        problem = replace(problem, message=problem.message + state_page(context))
    fields, body = problem.fields(), problem.body()
    return _local(context, head, request_id, problem.status, fields, body, keep_alive)


def state_page(context: WorkerContext) -> str:
    """A sentence for errors that a client cannot mend; "" if no status page is set."""
    url = context.config.public_url
    return f" The state of the mirrors: {url}" if url else ""


def _local(
    context: WorkerContext,
    head: RequestHead,
    request_id: bytes,
    status: int,
    own: Iterable[Field],
    body: bytes,
    keep_alive: bool,
) -> bytes:
    fields = [
        *own,
        (b"x-request-id", request_id),
        (b"x-mirrorgate-request-id", request_id),
        *cors.response_fields(head.look.get(b"origin"), context.router.cors_origins),
    ]
    if not keep_alive:
        fields.append((b"connection", b"close"))
    out = render(status, fields, body)
    return out[: -len(body)] if head.method == b"HEAD" else out


def refusal_answer(request_id: bytes, problem: Problem) -> bytes:
    """The answer to what did not become a request; the connection ends after it."""
    fields = [
        *problem.fields(),
        (b"x-request-id", request_id),
        (b"x-mirrorgate-request-id", request_id),
        (b"connection", b"close"),
    ]
    return render(problem.status, fields, problem.body())


_WAIT = "Many requests, please wait: every mirror is at the limit that its operator has set."
FULL: Final = Problem(503, "queue_full", _WAIT)
"""No room for now; `queue_full` makes the answer if the queue is full, or the wait was too long."""
_SOONEST, _LATEST = 2, 60
"""Seconds of `Retry-After`; beyond a minute SDKs do not wait."""


def queue_full(context: WorkerContext, queued: int) -> Problem:
    """The error when no mirror has room; `queued`: the place at which the request has waited, if
    the queue had one for it."""
    seconds = min(max(math.ceil(context.queue.wait), _SOONEST), _LATEST)
    message = f"{FULL.message} Try again in {seconds} s."
    return replace(FULL, message=message, retry_after=seconds, queued=queued or len(context.queue))


OUTAGE = Problem(
    503,
    "no_mirror_available",
    "No mirror is in rotation right now. Try again shortly.",
    retry_after=5,
)
"""Also while mirrors refuse their own keys: the caller's key is good."""
NO_KEY_LENT = Problem(
    503,
    "no_mirror_available",
    "No mirror here has a key for callers with issued keys: ask the operator.",
)
"""The caller's key is good, and so will it be once `api_key` of a mirror is set."""
ACCOUNT_OUTAGE = Problem(
    503,
    "no_mirror_available",
    "The mirrors that keep the files, threads and responses of this key are not in rotation right "
    "now. Try again shortly.",
    retry_after=5,
)
UNSERVED = Problem(
    404, "unknown_url", "No mirror that takes this key serves this path: ask the operator."
)
_OF_KEYS = OF_OWN_KEY | {Failure.stale}
"""Where a mirror refused its own key, perhaps after a connection that was closed already."""
_TOO_SLOW = (Failure.timeout, Failure.content_timeout, Failure.slow)


def all_failed(failed: Sequence[FailedAttempt], named: bool) -> Problem:
    """The error after the last attempt; `named`: the client may know which mirrors there are.

    An SDK may repeat what was tried only once, as it would without us.
    """
    refused = failed[-1].failure in OF_OWN_KEY
    if refused and all(attempt.failure in _OF_KEYS for attempt in failed):
        return OUTAGE
    if failed[-1].failure in _TOO_SLOW:
        return too_slow()
    mirrors = dict.fromkeys(attempt.mirror for attempt in failed)
    tried = ", ".join(mirrors) if named else str(len(mirrors))
    last = failed[-1].detail
    message = (
        f"No mirror could answer (tried {tried}; the last one: {last}). Try again in a minute."
    )
    return Problem(502, "upstream_error", message, tried=len(failed) > 1)


def all_limited(wait: float) -> Problem:
    """The error when every mirror that fits has asked to be left alone for a while."""
    told = advice(tried=True, wait=wait)
    message = f"The mirrors limit the rate of requests. Try again in {told.retry_after} s."
    tried = told.should_retry is False
    return Problem(429, "upstream_rate_limited", message, retry_after=told.retry_after, tried=tried)


OWN_KEY_SPENT = Problem(
    429,
    "insufficient_quota",
    "The mirrors say that the quota of this key is used up: check its plan and billing details.",
)
"""They said so moments ago, and are not asked again at once."""


def too_slow() -> Problem:
    """The error when a mirror did not answer in time."""
    message = "The mirror did not answer in time. Try again, or ask for less."
    return Problem(504, "upstream_timeout", message, tried=True)


def unknown_model(model: str, nearest: Sequence[str]) -> Problem:
    """The error when no mirror has a model; `nearest`: names of others that are like it."""
    message = f"No mirror here serves the model {model[:_LONGEST_NAMED]!r}."
    if nearest:
        message += f" Did you mean {' or '.join(map(repr, nearest))}?"
    return Problem(404, "model_not_found", f"{message} GET /v1/models lists them.")


def models_answer(
    context: WorkerContext,
    head: RequestHead,
    request: RequestContext,
    request_id: bytes,
    keep_alive: bool,
) -> bytes | Problem | None:
    """The list of the models of all mirrors, or one of them; None: a mirror is to be asked.

    That is so while no models are known, and for Anthropic's clients, whose lists are others.
    """
    models = context.upstreams.models
    if head.method not in (b"GET", b"HEAD") or b"anthropic-version" in head.look or not models:
        return None
    key: IssuedKey | None = ANONYMOUS
    if request.caller is Caller.issued:
        key = request.issued(context.keys, context.wall())
    if key is None:
        return refusal_of_key(context.keys, request.digest)
    name = unquote(request.target.partition(b"?")[0].removeprefix(_MODELS).decode("latin-1")).strip(
        "/"
    )
    body = models.entry(name, key) if name else models.listed(key)
    if body is None:
        return refusal_of_model(key, name) or unknown_model(name, models.nearest(name, key))
    fields = [JSON_TYPE, (b"cache-control", b"no-store")]
    return _local(context, head, request_id, 200, fields, body, keep_alive)


def ban_problem(context: WorkerContext, client: Client) -> Problem | None:
    """The refusal of this client's address, if it is banned now."""
    ban = context.bans.find(client, context.wall())
    return banned(ban, context.config.contact) if ban is not None else None


def no_key_fits(context: WorkerContext) -> Problem:
    """401: no configured mirror takes this caller's key; says which keys are accepted."""
    return unauthorized(f"No mirror here takes this key. {accepted_keys(context)}")


def accepted_keys(context: WorkerContext) -> str:
    """One sentence on the keys that are accepted here."""
    kinds = context.router.callers
    patterns = sorted({p for u in context.upstreams for p in u.mirror.client_keys})
    texts = []
    if Caller.own in kinds and patterns:
        own = (
            "your own OpenAI key" if "*" in patterns else f"your own key like {', '.join(patterns)}"
        )
        texts.append(own)
    if Caller.issued in kinds:
        texts.append(f'a key issued here ("{context.config.keys.prefix}…")')
    return f'Send {" or ".join(texts) or "a key"} as "Authorization: Bearer …".'
