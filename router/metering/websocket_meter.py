"""A WebSocket that is asked with a mirror's key: what each message asks for, and what it used.

Client events of the Responses API's WebSocket mode name a model each; Realtime's name one in the
handshake, and may in `session.update` and `response.create`. Both tell the use of an answer in the
event that ends it. (OpenAI's API reference: "Responses client events", "Realtime client events".)

    client ─► `asks` ─► mirror        what a key may not ask for goes no further
    client ◄─ `tells` ◄─ mirror       charged is what the mirror says it used
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from router.admission.key_index import IssuedKey
from router.admission.key_scope import refusal_of_model, refusal_of_price
from router.balancing.timeouts import is_reasoning
from router.metering.metered_request import ANONYMOUS, Metering
from router.metering.prices import day_of
from router.metering.request_scan import MOST_MODEL, counted_size
from router.metering.reservations import Reservation
from router.metering.usage import Basis, Usage, sane
from router.metering.usage_reader import inner_usage_near_end, parsed, usage_of
from router.metering.usage_taps import MOST_TAIL, tokens_in
from router.metering.websocket_events import (
    HOLDERS,
    Event,
    is_continued,
    model_name,
    models_named,
    nested,
    read_event,
    request_of,
)
from router.wire.error_response import Problem
from router.wire.json_scan import fold, has_too_many_parts
from router.wire.websocket import NOT_TEXT, POLICY, TOO_BIG, UNSUPPORTED

MOST_OPEN = 64
"""Answers of one socket that may be awaited at once; OpenAI's has eight streams."""


class Talk(StrEnum):
    """The dialects whose messages are known."""

    responses = "responses"
    realtime = "realtime"


_PATHS = {b"/v1/responses": Talk.responses, b"/v1/realtime": Talk.realtime}
_TYPES = {
    Talk.responses: frozenset(("response.create", "response.steer", "response.cancel")),
    Talk.realtime: frozenset(
        (
            "session.update",
            "transcription_session.update",
            "conversation.item.create",
            "conversation.item.delete",
            "conversation.item.retrieve",
            "conversation.item.truncate",
            "input_audio_buffer.append",
            "input_audio_buffer.clear",
            "input_audio_buffer.commit",
            "output_audio_buffer.clear",
            "response.cancel",
            "response.create",
        )
    ),
}
"""Client events that are known; of others it could not be said what they ask for."""
_QUERIED = frozenset(("model", "deployment", "deployment_id", "engine"))
"""Parts of a query by which servers choose a model."""
_FINAL = frozenset(
    f"response.{how}" for how in ("completed", "incomplete", "failed", "cancelled", "done")
)
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_MAY_MATTER = re.compile(
    rb'"usage"|"error"|"response\.(?:created|completed|incomplete|failed|cancelled|done)"'
)
_DELTA = re.compile(rb'\s*\{\s*"type"\s*:\s*"[\w.]+\.delta"')
"""The beginning of an event with a piece of an answer: further on may stand a caller's words."""
_KIND = re.compile(rb'\s*\{\s*"type"\s*:\s*"([\w.]+)"')
_AUDIO_DELTA = "audio.delta"
_AUDIO_BYTES_PER_TOKEN = 533
"""Base64 of 50 ms of G.711 (8,000 bytes a second), which are one token; PCM at 24 kHz has more."""
_MOST_IDS = 1024
"""Event ids of one socket that are remembered; later ones tie no error to a request."""


class Refused(NamedTuple):
    """Why a message goes no further."""

    close: int
    """The code that the socket is closed with; 0: it stays open."""
    problem: Problem


class _Turn:
    """An answer that is awaited."""

    __slots__ = (
        "begun",
        "continues",
        "event_id",
        "id",
        "keeps",
        "models",
        "most",
        "reservation",
        "size",
        "stream",
        "tokens",
    )

    def __init__(
        self,
        models: list[str],
        size: int,
        stream: object,
        request: Mapping[str, Any],
        reservation: Reservation | None = None,
    ) -> None:
        self.reservation = reservation
        self.models = models
        """Those that it may have been asked of."""
        self.size = size
        self.stream = stream
        """The `stream_id` that it was asked with, if any."""
        self.id: object = None
        """The answer's, once it has begun."""
        self.most = sane(request.get("max_output_tokens"))
        self.keeps = request.get("store") is not False
        self.continues = is_continued(request)
        self.begun = False
        """True if the mirror works on it."""
        self.event_id: str | None = None
        """The client's for its request, where no other message of the socket had it."""
        self.tokens = 0
        """Roughly what came of it so far."""


def talk_of(target: bytes) -> Talk | None:
    """The dialect that is spoken over a WebSocket to this target, if it is known."""
    return _PATHS.get(target.partition(b"?")[0].removesuffix(b"/"))


def converse(
    metering: Metering,
    target: bytes,
    key: IssuedKey,
    current: Callable[[], IssuedKey | Problem],
    wall: Callable[[], float],
    too_fast: Callable[[IssuedKey], Problem | None] = lambda key: None,
) -> WebSocketMeter | Problem | None:
    """Judge and meter a WebSocket; None: its dialect is not known, and nothing is to be judged.

    `current` is `key` as it stands at any later moment, or why it may not be used any more;
    `too_fast` counts a request by the rate of a key, and returns why it is refused.
    """
    talk = talk_of(target)
    if talk is None:
        if key.models:
            message = (
                "A key that is for some models may only open WebSockets whose messages name one."
            )
            return Problem(403, "endpoint_not_allowed", message)
        metering.unmetered("tunnel")
        return None
    if talk is Talk.realtime:
        strange = _strange(target)
        if key.models and strange:
            message = f'The query has "{strange}": name the model by "model" only.'
            return Problem(400, "ambiguous_request", message)
        if len(set(_queried(target))) > 1 and key is not ANONYMOUS:
            message = 'The query has several "model": name one.'
            return Problem(400, "ambiguous_request", message)
        for model in _queried(target):
            problem = refusal_of_model(key, model)
            if problem is not None:
                return problem
    return WebSocketMeter(metering, talk, target, current, wall, too_fast)


def _queried(target: bytes) -> list[str]:
    query = target.partition(b"?")[2].replace(b";", b"&")  # a separator for some servers
    named = parse_qs(query).get(b"model", [b""])
    return [model.decode("utf-8", "replace") for model in named]


def _strange(target: bytes) -> str:
    """A part of the query that some server takes for the model, and others do not."""
    for name in parse_qs(target.partition(b"?")[2].replace(b";", b"&"), keep_blank_values=True):
        text = name.decode("utf-8", "replace")
        if text != "model" and fold(text) in _QUERIED:
            return fold(text)
    return ""


class WebSocketMeter:
    """The messages of one socket."""

    def __init__(
        self,
        metering: Metering,
        talk: Talk,
        target: bytes,
        key: Callable[[], IssuedKey | Problem],
        wall: Callable[[], float],
        too_fast: Callable[[IssuedKey], Problem | None],
    ) -> None:
        """`key` is the caller's as it stands now, or why it may not be used any more."""
        self._metering = metering
        self._talk = talk
        self._key = key
        self._wall = wall
        self._too_fast = too_fast
        found = key()
        self._named = ANONYMOUS if isinstance(found, Problem) else found
        """The key as it stood last."""
        self._model = _queried(target)[-1][:MOST_MODEL]
        self._transcriber = ""
        self._turns: deque[_Turn] = deque()
        self._left: bool | None = None
        """True if the client ended it; None: nobody has yet."""
        self._settled = False
        self._ids: set[int] = set()
        """Hashes of the event ids that the client has used."""
        self._unread = False
        """True if it has sent what could not be read for certain, which may have any id."""
        self._doubtful = False
        """True if an error that names no request may be about another than the only one."""

    def __repr__(self) -> str:
        who = self._named.id or "nobody"
        return f"<WebSocketMeter {self._talk} of {who}, {len(self._turns)} open>"

    @property
    def busy(self) -> bool:
        """True if an answer is awaited."""
        return bool(self._turns)

    @property
    def named(self) -> str:
        """The id of the key that is charged; empty: nobody is."""
        return self._named.id

    @property
    def reads_on(self) -> bool:
        """True if the client has left answers of which the mirror may still tell the usage."""
        return self.busy and bool(self._left) and self._named is not ANONYMOUS

    @property
    def turns_known(self) -> bool:
        """True if `busy` tells all: Realtime's answers may begin without being asked for."""
        return self._talk is Talk.responses

    # From the client

    def begin(self) -> Problem | None:
        """Look up the key; why it may not be used, if so."""
        key = self._key()
        if isinstance(key, Problem):
            return key
        self._named = key
        return None

    def asks(self, payload: bytes, text: bool) -> Refused | None:
        """Why a message may not go to the mirror; None: it may, and an answer is awaited."""
        problem = self.begin()
        if problem is not None:
            return Refused(POLICY, problem)
        key = self._named
        strict = bool(key.models) or key.left is not None or key.tokens_left is not None
        if not text:
            self._unread = self._doubtful = True
            if strict:
                return Refused(UNSUPPORTED, _unread("be text"))
            return self._paced()
        event, twice, large = read_event(payload)
        if event is None:
            self._unread = self._doubtful = True
            if not strict:
                return self._paced()
            code = TOO_BIG if large else NOT_TEXT
            return Refused(code, _unread("be a JSON object of few parts"))
        if twice:
            self._unread = self._doubtful = True
        if strict and (problem := self._problem(key, event, twice)) is not None:
            return Refused(POLICY, problem)
        creates = event.get("type") == "response.create"
        if creates and len(self._turns) >= MOST_OPEN:
            message = f"More than {MOST_OPEN} answers are awaited on this WebSocket."
            return Refused(0, Problem(429, "rate_limit_exceeded", message, of_key=True))
        if (twice or creates) and (refused := self._paced()) is not None:
            return refused
        found = self._reserve(key, event, payload) if strict else None
        if isinstance(found, Problem):
            return Refused(POLICY, found)
        self._note(event, payload, found)
        return None

    def _reserve(
        self, key: IssuedKey, event: Mapping[str, Any], payload: bytes
    ) -> Reservation | Problem | None:
        if not self._creates(event) or (key.left, key.tokens_left) == (None, None):
            return None
        request, models = request_of(event), self._models(event)
        size, most = counted_size(len(payload), request), sane(request.get("max_output_tokens"))
        return self._metering.reserve(
            key, models[-1], size, most, self._wall(), continues=is_continued(request)
        )

    def _paced(self) -> Refused | None:
        """Count a message that may ask for an answer by the rate of the key."""
        problem = self._too_fast(self._named)
        return None if problem is None else Refused(0, problem)

    def _creates(self, event: Mapping[str, Any]) -> bool:
        """True if an answer of the Responses API is asked for."""
        return self._talk is Talk.responses and event.get("type") == "response.create"

    def _problem(self, key: IssuedKey, event: Event, twice: str) -> Problem | None:
        if twice:
            message = f'The message has "{twice}" twice, or in capitals: send it once.'
            return Problem(400, "ambiguous_request", message)
        for names in HOLDERS:
            if not isinstance(nested(event, *names), Mapping | None):
                return _unread(f'have an object as "{names[-1]}"')
        kind = event.get("type")
        if not isinstance(kind, str) or kind not in _TYPES[self._talk]:
            message = "A key with a quota, or for some models, may only send events that are known."
            return Problem(403, "endpoint_not_allowed", message)
        if self._creates(event):
            if (problem := self._metering.spent(key)) is not None:
                return problem
            readings = (event, nested(event, "response"))
            if any(nested(each, "background") not in (None, False) for each in readings):
                message = 'A key may not ask for "background" over a WebSocket.'
                return Problem(403, "endpoint_not_metered", message)
        for model in (*self._models(event), *models_named(event)):
            problem = refusal_of_model(key, model)
            if problem is None and key.left is not None and not self._has_price(model):
                problem = refusal_of_price(model)
            if problem is not None:
                return problem
        return None

    def _has_price(self, model: str) -> bool:
        return self._metering.prices.of(model, day_of(self._wall())) is not None

    def _models(self, event: Mapping[str, Any]) -> list[str]:
        """Every model that an event names; "" where it must name one and does not."""
        found = [event.get("model"), nested(event, "response", "model")]
        if self._talk is Talk.responses:
            asks = event.get("type") == "response.create"
            named = [model for model in found if model is not None]
            return [model_name(model) for model in named] or ([""] if asks else [])
        found += [
            nested(event, "session", "model"),
            nested(event, "session", "audio", "input", "transcription", "model"),
            nested(event, "session", "input_audio_transcription", "model"),
        ]
        return [model_name(model) for model in found if model is not None]

    def _note(
        self,
        event: Mapping[str, Any],
        payload: bytes,
        reservation: Reservation | None = None,
    ) -> None:
        """The message goes to the mirror."""
        creates = event.get("type") == "response.create"
        if self._turns or not creates:
            self._doubtful = True
        event_id = self._new_id(event.get("event_id"))
        if self._talk is Talk.realtime:
            told = nested(event, "session", "audio", "input", "transcription", "model")
            told = told or nested(event, "session", "input_audio_transcription", "model")
            self._transcriber = model_name(told) if told else self._transcriber
            self._model = model_name(nested(event, "session", "model")) or self._model
        elif self._turns and event.get("type") == "response.steer":
            self._turns[-1].size += len(payload)
        if creates:
            request, models = request_of(event), self._models(event)
            size, stream = counted_size(len(payload), request), request.get("stream_id")
            turn = _Turn(models or [self._model], size, stream, request, reservation)
            if self._talk is Talk.realtime:
                turn.keeps, turn.continues = False, True
            turn.event_id = event_id
            self._turns.append(turn)

    def _new_id(self, told: object) -> str | None:
        """The event id of a message, unless another had it: an error may be about either."""
        if not isinstance(told, str):
            return None
        for turn in self._turns:
            if turn.event_id == told:
                turn.event_id = None
        digest = hash(told)
        if digest in self._ids or len(self._ids) >= _MOST_IDS:
            return None
        self._ids.add(digest)
        return told

    # From the mirror

    def tells(self, payload: bytes) -> None:
        """Note what a text of the mirror says of use."""
        known = self._talk is Talk.responses
        if known and len(self._turns) == 1 and _DELTA.match(payload) is not None:
            self._turns[0].tokens += tokens_in(payload)
            return
        pieces = bool(self._turns) and b'.delta"' in payload
        if not pieces and _MAY_MATTER.search(payload) is None:
            return
        if has_too_many_parts(payload):
            self._tells_much(payload)
            return
        event = parsed(payload)
        kind = event.get("type") if event is not None else None
        if event is None or not isinstance(kind, str):
            return
        if kind.endswith(".delta"):
            if self._turns:
                begun = [turn for turn in self._turns if turn.begun]
                audio = kind.endswith(_AUDIO_DELTA)
                tokens = len(payload) // _AUDIO_BYTES_PER_TOKEN if audio else tokens_in(payload)
                self._turn(event, begun or self._turns).tokens += tokens
            return
        if kind == _TRANSCRIBED:
            self._charge([self._transcriber], usage_of(event.get("usage")))
        elif kind in _FINAL:
            response = event.get("response")
            told = usage_of(response.get("usage")) if isinstance(response, Mapping) else None
            status = nested(event, "response", "status")
            self._end_turn(event, told, kind == "response.failed" or status == "failed")
        elif kind == "response.created":
            self._begin_turn(event)
        elif kind == "error":
            self._refuse_turn(event)

    def _tells_much(self, payload: bytes) -> None:
        """Note what an event tells that is too much to read: by its beginning and its end. It may
        have come to be so by what its caller sent, who must not get the answer for nothing."""
        told, found = inner_usage_near_end(payload[-MOST_TAIL:]), _KIND.match(payload)
        kind = found[1].decode() if found is not None else ""
        if told is not None or kind in _FINAL:
            self._end_turn({}, told, kind == "response.failed")
        elif kind == "response.created":
            self._begin_turn({})

    def mirror_ended(self) -> None:
        """The mirror says nothing more: what it had begun is not charged, unless it was left."""
        self._left = bool(self._left)

    def client_ended(self) -> None:
        """The client leaves the answers that are awaited, unless the mirror has before."""
        if self._left is None:
            self._left = True

    def _begin_turn(self, event: Mapping[str, Any]) -> None:
        """An answer begins: the oldest that has not, or one that was not asked for."""
        told = nested(event, "response", "id")
        if told is not None and any(turn.id == told for turn in self._turns):
            return
        waiting = [turn for turn in self._turns if not turn.begun]
        if waiting:
            turn = self._turn(event, waiting)
        elif len(self._turns) < MOST_OPEN:
            model = model_name(nested(event, "response", "model")) or self._model
            turn = _Turn([model], 0, event.get("stream_id"), {})
            if self._talk is Talk.realtime:
                turn.keeps, turn.continues = False, True
            self._turns.append(turn)
        else:
            return
        turn.begun, turn.id = True, told

    def _refuse_turn(self, event: Mapping[str, Any]) -> None:
        """An error ends the request that it names, or the only message that it can be about; any
        other may be about another message, while the mirror works on."""
        about, turn = nested(event, "error", "event_id"), None
        waiting = [turn for turn in self._turns if not turn.begun]
        if isinstance(about, str):
            if not self._unread:
                turn = next((each for each in waiting if each.event_id == about), None)
        elif waiting and not self._doubtful:
            turn = waiting[0]
        self._doubtful = True
        if turn is not None:
            self._turns.remove(turn)
            self._give_back(turn)

    @staticmethod
    def _turn(event: Mapping[str, Any], turns: Sequence[_Turn]) -> _Turn:
        """The one that an event is about: by its id, its stream, its model; else the oldest."""
        stream, told = event.get("stream_id"), nested(event, "response", "id")
        told = event.get("response_id") if told is None else told
        model = model_name(nested(event, "response", "model"))

        def likeness(turn: _Turn) -> tuple[bool, bool, bool]:
            named = any(name and model.startswith(name) for name in turn.models)
            return told is not None and turn.id == told, turn.stream == stream, named

        return max(turns, key=likeness)

    def _end_turn(self, event: Mapping[str, Any], told: Usage | None, failed: bool) -> None:
        turn, alone = None, len(self._turns) == 1
        if failed:
            self._doubtful = True  # an error may come besides
        candidates = self._ending(nested(event, "response", "id"))
        if candidates:
            begun = [turn for turn in candidates if turn.begun]
            turn = self._turn(event, begun or candidates)
            self._turns.remove(turn)
        if told is not None:
            model = model_name(nested(event, "response", "model")) or self._model
            models = turn.models if turn is not None else [model]
            self._charge(self._dearer(models, model, told), told)
            alone = alone and self._talk is Talk.responses
            if turn is not None and alone and not failed and len(models) == 1:
                self._metering.typical.note(models[0], told, turn.tokens)
        elif turn is not None and not failed:
            self._estimate(turn, "no_usage", ended=True)
        if turn is not None:
            self._give_back(turn)

    def _ending(self, told: object) -> Sequence[_Turn]:
        """Those that an end with this id may be of."""
        known = [turn for turn in self._turns if told is not None and turn.id == told]
        if known or told is None or len(self._turns) == 1:
            return known or self._turns
        return [turn for turn in self._turns if turn.id is None]

    def _dearer(self, models: list[str], told: str, usage: Usage) -> list[str]:
        """The models asked for, or the one that the mirror says it used, if that costs more."""
        day = day_of(self._wall())
        price = self._metering.prices.of(told, day)
        if price is None:
            return models
        own = self._metering.cost(self._named, models, usage, day)[1]
        return [told] if price.cost(usage) > own else models

    def _give_back(self, turn: _Turn) -> None:
        """Give its reservation back: it has been charged, or will not be."""
        reservation, turn.reservation = turn.reservation, None
        if reservation is not None:
            self._metering.reservations.leave(reservation)

    # Accounts

    def settle(self, outcome: str) -> None:
        """The socket has ended: what the client has left is estimated."""
        if self._settled:
            return
        self._settled = True
        if self._left or (self._left is None and outcome != "interrupted"):
            for turn in self._turns:
                self._estimate(turn, "left", ended=False)
        for turn in self._turns:
            self._give_back(turn)
        self._turns.clear()

    def _estimate(self, turn: _Turn, reason: str, *, ended: bool) -> None:
        metering, model = self._metering, turn.models[-1]
        metering.unmetered(reason)
        output = metering.typical.whole(
            model, turn.tokens, is_reasoning(model), turn.keeps and not ended, turn.most
        )
        asked = metering.input_of(model, turn.size, continues=turn.continues)
        usage = Usage(input=asked, output=output)
        metering.charge(self._named, turn.models, usage, Basis.estimate, day_of(self._wall()))

    def _charge(self, models: list[str], usage: Usage | None) -> None:
        if usage is None:
            self._metering.unmetered("no_usage")
        else:
            self._metering.charge(self._named, models, usage, Basis.usage, day_of(self._wall()))

    def error(self, problem: Problem) -> bytes:
        """The event that tells a client of an error."""
        told = json.loads(problem.body())["error"]
        event: dict[str, Any] = {"type": "error", "error": told}
        if self._talk is Talk.responses:
            event["status"] = problem.status
        return json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")


def _unread(what: str) -> Problem:
    message = f"With this key, which has a quota or is for some models only, a message must {what}."
    return Problem(400, "malformed_request", message)
