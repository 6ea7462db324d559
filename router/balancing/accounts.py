"""The account on which an issued key, or a caller without one, has its files, threads, responses
and whatever else has an id: the one place where they are found again.

It is chosen by rendezvous hashing (Thaler and Ravishankar 1998), so that it is the same in every
process and after every restart without a map of ids, and an account that comes or goes moves only
keys that are its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from router.wire.json_scan import top_values

_KEEPING = frozenset(
    (
        "assistants",
        "batches",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    )
)
"""Endpoints whose objects have ids."""
_CREATING = (b"/v1/responses", b"/v1/chat/completions")
_NAMING = (
    b'"previous_response_id"',
    b'"conversation"',
    b'"item_reference"',
    b'"file_id"',
    b'"file_ids"',
    b'"vector_store_ids"',
    b'"container"',
    b'"ft:',
)
"""Signs in a body that it names something that was made before. One that stands there for another
reason costs a choice between accounts, and nothing else."""


def account_of(key: bytes, accounts: Iterable[str]) -> str | None:
    """The account of this key; None where there are none."""
    salt = blake2b(key, digest_size=32).digest()

    def weight(account: str) -> tuple[bytes, str]:
        return blake2b(account.encode(), digest_size=16, key=salt).digest(), account

    return max(accounts, key=weight, default=None)


def is_stateful(method: bytes, endpoint: str, target: bytes, body: bytes | None) -> bool:
    """True if a request makes or names something that only one account has. `body`: None if it is
    not at hand."""
    if endpoint not in ("responses", "chat"):
        return endpoint in _KEEPING
    path = target.partition(b"?")[0].rstrip(b"/")
    if method != b"POST" or path not in _CREATING or body is None:
        return True
    store = bytes(top_values(body).store)
    kept = store != b"false" if endpoint == "responses" else store == b"true"
    return kept or any(sign in body for sign in _NAMING)
