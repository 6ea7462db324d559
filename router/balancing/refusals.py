"""A mirror's own 4xx: their meaning, and a memory of what each mirror refuses to each key.

Some refusals are the mirror's and not the request's: a key that others take, a model or a path that
others have. They are learnt per key, so that nobody's requests keep another caller away from a
mirror, and of what is learnt each client has a bounded share. A refused kind of request keeps away
for a while, longer each time; then one request tries again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from router.balancing.failure import Failure
from router.balancing.rate_limit import LENT, is_spent

FIRST_WAIT, LONGEST_WAIT = 30.0, 480.0
"""Seconds to keep away, doubled each time."""
TRIAL_SECONDS = 30.0
"""Seconds that the one request which tries again has for that."""
PATIENCE = 60.0
"""Seconds that a trial waits for a request that can be repeated if it fails."""
MOST_CLIENTS = 1024
MOST_KEYS = 32
"""Keys of one client."""
MOST_MARKS = 256
"""Refusals of one key."""
MOST_IN_ALL = 16384

OF_KEY = ""
"""Stands for whatever is asked with a key."""
_KEY_STATUSES = frozenset((401, 402, 403))
_NO_ENDPOINT = frozenset((404, 405))
LOOKED_INTO = frozenset((400, 401, 402, 403, 404, 405))
"""Statuses whose body may show that another mirror would serve."""
_OF_REQUEST = frozenset(
    (
        "content_filter",
        "content_policy_violation",
        "image_content_policy_violation",
        "moderation_blocked",
        "prompt_blocked",
        "sensitive_words_detected",
        "user_location_invalid",
    )
)
"""Codes and types of a 403 that is about what is asked."""
NO_MODEL = frozenset(("model_not_found", "deploymentnotfound", "model_not_exist", "invalid_model"))
_REGION = "unsupported_country_region_territory"
_NO_URL = ("invalid url", "unknown request url", "unknown_url")
_PLAIN_PATHS = frozenset(
    b"/v1/" + path
    for path in b"assistants audio/speech audio/transcriptions audio/translations batches"
    b" chat/completions completions containers conversations embeddings evals files"
    b" fine_tuning/jobs images/edits images/generations images/variations messages"
    b" messages/count_tokens models moderations realtime realtime/client_secrets"
    b" realtime/sessions realtime/transcription_sessions responses responses/compact"
    b" responses/input_tokens threads threads/runs uploads vector_stores videos".split()
)
"""Paths that name nothing which one mirror may have and another one not."""


class Said(NamedTuple):
    """Words of an error, in small letters; empty where it has none."""

    code: str = ""
    type: str = ""
    message: str = ""


def words_of(body: bytes) -> Said | None:
    """The words of an error in JSON, in OpenAI's shape or in a looser one; None if it is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    error: Any = data.get("error", data)
    if isinstance(error, str):
        return Said(message=error.lower())
    if not isinstance(error, dict):
        return Said()
    names = (error.get("code"), error.get("type"), error.get("message"))
    return Said(*(str(name).lower()[:512] if name is not None else "" for name in names))


def plain_path(target: bytes) -> bytes | None:
    """The path, if a 404 to it can only mean that the mirror does not have it."""
    path = target.partition(b"?")[0]
    return path if path in _PLAIN_PATHS else None


def refused(
    status: int, said: Said | None, model: str, path: bytes | None, *, own_key: bool
) -> Failure | None:
    """Meaning of a 4xx that may be the mirror's fault alone, None for one of the request itself.

    `said`: of a JSON body; `path`: of `plain_path`; `own_key`: the key is the caller's own.
    """
    words = said or Said()
    if _lacks_model(status, words, model):
        return Failure.no_model
    if own_key and status == 403 and words.code == _REGION:
        return Failure.region_refused
    if own_key and (status in _KEY_STATUSES or is_spent(words.code, words.type)):
        return None if _OF_REQUEST & {words.code, words.type} else Failure.caller_refused
    if status == 501 or (status in _NO_ENDPOINT and path is not None and _is_no_answer(said)):
        return Failure.no_endpoint
    return None


def _lacks_model(status: int, said: Said, model: str) -> bool:
    if not model or status not in (400, 403, 404, 503):
        return False
    if NO_MODEL & {said.code, said.type}:
        return True
    return status == 404 and "model" in said.message and model.lower() in said.message


def _is_no_answer(said: Said | None) -> bool:
    """True if it was not written by what serves the API, or says that there is no such path."""
    if said is None or not (said.code or said.type):
        return said is None or "model" not in said.message
    return any(word in said.message or word == said.code for word in _NO_URL)


class Mark:
    """One kind of request that a mirror has refused."""

    __slots__ = ("count", "on_trial", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.count = 1
        self.on_trial = False


Marks = dict[tuple[str, str], Mark]
"""By mirror, and what it refused: `OF_KEY`, a model or a path."""


def keeps_away(marks: Marks, mirror: str, whats: tuple[str, ...], now: float, safe: bool) -> bool:
    """True if such a request should not go to the mirror. `safe`: it can be repeated elsewhere,
    so that it may be the trial."""
    patience = 0.0 if safe else PATIENCE
    for what in whats:
        mark = marks.get((mirror, what))
        if mark is not None and now < mark.until + patience:
            return True
    return False


def try_again(marks: Marks, mirror: str, whats: tuple[str, ...], now: float) -> None:
    """A request is sent to the mirror: what it tries again, others do not try meanwhile."""
    for what in whats:
        mark = marks.get((mirror, what))
        if mark is not None and now >= mark.until:
            mark.until, mark.on_trial = now + TRIAL_SECONDS, True


class _Client:
    """The keys of one client, and what they were refused."""

    __slots__ = ("keys", "size")

    def __init__(self) -> None:
        self.keys: OrderedDict[bytes, Marks] = OrderedDict()
        self.size = 0


class Refusals:
    """Refusals that one worker knows of. Keys are kept as keyed hashes, in memory only."""

    __slots__ = ("_clients", "_salt", "_size", "some")

    def __init__(self, salt: bytes) -> None:
        """`salt`: 16 or more random bytes of this process."""
        self._salt = salt[:64]
        self._clients: OrderedDict[bytes, _Client] = OrderedDict()
        self._size = 0
        self.some = False
        """True if there is any; asked with every request."""

    def __repr__(self) -> str:
        return f"<Refusals {self._size}>"

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Mirrors, and what they refuse, whoever asks."""
        for client in self._clients.values():
            for marks in client.keys.values():
                yield from marks

    def of(self, client: bytes, key: bytes) -> Marks | None:
        """The refusals of this client's key, if any; `LENT` is one key, whoever asks."""
        known = self._clients.get(client if key else b"")
        return known.keys.get(self._digest(key)) if known is not None else None

    def learn(self, client: bytes, key: bytes, mirror: str, what: str, now: float) -> Marks:
        """The mirror has refused this; what the key is refused by now."""
        name = client if key else b""
        known = self._clients.get(name)
        if known is None:
            known = self._clients[name] = _Client()
        digest = self._digest(key)
        marks = known.keys.setdefault(digest, {})
        self._clients.move_to_end(name)
        known.keys.move_to_end(digest)
        mark = marks.get((mirror, what))
        if mark is None:
            marks[mirror, what] = Mark(now + FIRST_WAIT)
            self._count(known, 1)
            self._bound(known, marks)
        elif mark.on_trial or now >= mark.until:  # else several met the same refusal
            mark.count, mark.on_trial = mark.count + 1, False
            mark.until = now + min(FIRST_WAIT * 2.0 ** min(mark.count - 1, 10), LONGEST_WAIT)
        return marks

    def forget(self, client: bytes, key: bytes, mirror: str, whats: tuple[str, ...]) -> None:
        """The mirror has served such a request."""
        known = self._clients.get(client if key else b"")
        marks = known.keys.get(self._digest(key)) if known is not None else None
        if known is None or marks is None:
            return
        for what in whats:
            if marks.pop((mirror, what), None) is not None:
                self._count(known, -1)
        if not marks:
            del known.keys[self._digest(key)]
        if not known.keys:
            del self._clients[client if key else b""]

    def keep(self, mirrors: frozenset[str]) -> None:
        """Forget the mirrors that are not among these."""
        for client in self._clients.values():
            for marks in client.keys.values():
                for gone in [place for place in marks if place[0] not in mirrors]:
                    del marks[gone]
                    self._count(client, -1)

    def _bound(self, known: _Client, marks: Marks) -> None:
        if len(marks) > MOST_MARKS:
            del marks[next(iter(marks))]
            self._count(known, -1)
        while len(known.keys) > MOST_KEYS or known.size > MOST_IN_ALL // 8:
            _, gone = known.keys.popitem(last=False)
            self._count(known, -len(gone))
        while len(self._clients) > MOST_CLIENTS or self._size > MOST_IN_ALL:
            _, client = self._clients.popitem(last=False)
            self._size -= client.size

    def _count(self, known: _Client, change: int) -> None:
        known.size += change
        self._size += change
        self.some = self._size > 0

    def _digest(self, key: bytes) -> bytes:
        if key is LENT or not key:
            return LENT
        return blake2b(key, digest_size=16, key=self._salt).digest()


class OfRequest:
    """Refusals of mirrors that concern one request; made when there is anything."""

    __slots__ = ("_client", "_key", "_marks", "_model", "_path", "_table", "_whats", "ignored")

    def __init__(
        self, table: Refusals, client: bytes, key: bytes, method: bytes, target: bytes, model: str
    ) -> None:
        self._table = table
        self._client = client
        self._key = key
        self._marks = table.of(client, key)
        path = plain_path(target)
        self._model = f"model {model}" if model else ""
        self._path = (method + b" " + path).decode() if path is not None else ""
        self._whats = tuple(what for what in (self._model, self._path) if what)
        self._whats += (OF_KEY,)
        self.ignored = False
        """True if every mirror refuses it, so that one of them is asked all the same."""

    def __repr__(self) -> str:
        return f"<OfRequest {self._whats}>"

    def keeps_away(self, mirror: str, now: float, safe: bool) -> bool:
        """True if the request should not go to the mirror. `safe`: it can be repeated elsewhere."""
        marks = self._marks
        return bool(marks) and keeps_away(marks or {}, mirror, self._whats, now, safe)

    def sent(self, mirror: str, now: float) -> None:
        """The mirror is asked: it may be the one trial."""
        self.ignored = False
        if self._marks:
            try_again(self._marks, mirror, self._whats, now)

    def served(self, mirror: str) -> None:
        """The mirror has served it."""
        if self._marks:
            self._table.forget(self._client, self._key, mirror, self._whats)

    def learn(self, failure: Failure, mirror: str, now: float) -> None:
        """The mirror refuses it for this reason."""
        whats = {Failure.no_model: self._model, Failure.no_endpoint: self._path}
        what = whats.get(failure, OF_KEY)
        if what or failure in (Failure.caller_refused, Failure.region_refused):
            self._marks = self._table.learn(self._client, self._key, mirror, what, now)
