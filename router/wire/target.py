"""The request target: one string that is checked and forwarded, nothing in between.

What is allowed is RFC 3986's characters. Dot segments, also in escaped form or with parameters
("..;"), and escaped control characters and backslashes in the path are refused, because a mirror
may resolve them and so leave the prefix that was checked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

_ALLOWED = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%\[\]]*")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNSAFE_IN_PATH = re.compile(rb"[\x00-\x1f\x7f\\]|/\.{1,2}(?:[/;]|\Z)")
"""In an unescaped path."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

ROOTS = frozenset(
    b"agents assistants audio batches chat chatkit completions containers content_provenance_checks"
    b" conversations dashboard decisions embeddings evals files fine_tuning images live models"
    b" moderations organization realtime responses skills threads uploads vaults vector_stores"
    b" videos webhook_endpoints webhook_event_types".split()
)
"""First path segments of the OpenAI API below /v1/; a path that begins with one lacks only that.
`dashboard` has the billing pages, which apps ask with and without /v1."""


_NAMES: Final = {root: root.decode() for root in ROOTS} | {
    b"messages": "messages",
    b"messages/batches": "batches",
}
"""Names of endpoints: also of Anthropic's, which mirrors serve under the same address."""
_ROOT: Final = re.compile(rb"/v1/(messages/batches|[^/?]*)")


class BadTarget(ValueError):
    """The request target cannot be forwarded; the text says why."""


def checked(given: bytes) -> bytes:
    """A request target as origin-form, checked. Raises BadTarget.

    Paths recur, so their verdicts are remembered; a query is a client's own and never is.
    """
    return _checked(given) if b"?" in given else _checked_path(given)


def _checked(given: bytes) -> bytes:
    target = origin_form(given)
    check(target)
    return target


_checked_path = lru_cache(maxsize=2048)(_checked)


def origin_form(target: bytes) -> bytes:
    """The target as path and query, whatever host an absolute-form target names.

    Raises BadTarget for what is neither origin-form nor absolute-form (RFC 9112 section 3.2).
    """
    if target.startswith(b"/"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not valid_host(absolute[1]):
        raise BadTarget("the request target must begin with /")
    rest = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest


def check(target: bytes) -> None:
    """Raise BadTarget if the origin-form target may mean another path to somebody else."""
    if _ALLOWED.fullmatch(target) is None:
        raise BadTarget("the request target holds characters that must be percent-encoded")
    if b"%" in target and _BAD_ESCAPE.search(target):
        raise BadTarget("the request target holds a bad escape")
    path = target.partition(b"?")[0]
    if (b"/." in path or b"%" in path) and _UNSAFE_IN_PATH.search(unquote_to_bytes(path)):
        raise BadTarget("the request target holds dot segments or escaped controls")


@lru_cache(maxsize=256)
def valid_host(value: bytes) -> bool:
    """True if a Host field is a host and an optional port (RFC 9112 section 3.2)."""
    return _HOST.fullmatch(value) is not None


def forward_target(target: bytes, prefixes: tuple[bytes, ...], forgiving: bool) -> bytes | None:
    """The target to forward, or None when it is not under a forwarded prefix. "/v1/" alone is none:
    no mirror has anything there, and whoever looks at it wants to know what this is.

    With `forgiving`, the usual slips in a base URL are mended: "/v1/v1/x" and "//v1/x" become
    "/v1/x", "/chat/completions" becomes "/v1/chat/completions".
    """
    if forgiving:
        target = _mend(target)
    return target if target.startswith(prefixes) and target != b"/v1/" else None


def _mend(target: bytes) -> bytes:
    if target.startswith(b"/v1/") and not target.startswith(b"/v1/v1/"):
        return target
    if target.startswith(b"//"):
        target = b"/" + target.lstrip(b"/")
    while target.startswith(b"/v1/v1/"):
        target = target[3:]
    root = re.split(rb"[/?]", target[1:], maxsplit=1)[0]
    return b"/v1" + target if root in ROOTS else target


def endpoint_of(target: bytes) -> str:
    """The endpoint for metrics, from a closed set: "chat", "files", … or "other"."""
    root = _ROOT.match(target)
    return _NAMES.get(root[1], "other") if root is not None else "other"
