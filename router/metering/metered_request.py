"""One request that is asked with a mirror's key: what it uses, and who is charged for it.

    begin ─► (attempts) ─► answer, once ─► feed … ─► settle, once

Charged is the answer that the client got, by the mirror's own words; where those did not come, by
an estimate. Nothing is charged for attempts that failed, for errors, and for answers that the
mirror broke off.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Final, NamedTuple

from monitor.common.metric_registry import MetricRegistry
from router.admission.config import PriceConfig
from router.admission.endpoint_kinds import Kind, kind_of
from router.admission.key_index import IssuedKey
from router.admission.key_scope import (
    NO_MEMORY,
    refusal_of_lent,
    refusal_of_media,
    refusal_of_model,
    refusal_of_price,
    refusal_of_spent,
    refusal_of_unread,
)
from router.admission.shared_table import Table
from router.balancing.timeouts import is_reasoning
from router.metering import metrics
from router.metering.batches import OTHER, UsageBatches
from router.metering.estimates import UsageEstimates
from router.metering.meter import Meter
from router.metering.multipart import UploadTap
from router.metering.prices import NANO, Prices, day_of
from router.metering.request_scan import (
    LIMITS,
    MOST_COUNT,
    RequestScan,
    models_of_query,
    scan_request,
)
from router.metering.reservations import Reservation, Reservations
from router.metering.usage import NOTHING, Basis, Usage
from router.upstream.dialect import Dialect
from router.wire.error_response import Problem
from router.wire.response import ResponseHead

ANONYMOUS: Final = IssuedKey("", 0.0, (), math.inf, None, None)
"""Stands for callers without a key: counted in metrics, not charged."""
BYTES_PER_TOKEN: Final = 4
"""For estimates: OpenAI's rule of thumb for English text."""
BYTES_PER_MS = 16
"""For estimates: audio at 128 kbit/s."""
MOST_NAMED = 64
"""Models that only a pattern prices which a worker records by name, for each key and day."""
_MOST_OUTPUT = 16_384
"""Tokens that are reserved for an answer whose request sets no limit: what gpt-4o gives at most."""
_IMAGE_TOKENS = 6240
"""Tokens that are reserved for an image: gpt-image-1, 1024 by 1536, high quality."""
_MOST_IMAGES = 10
"""Images that are reserved for an upload, whose fields are read only while it passes: the most that
OpenAI makes."""
_MOST_UPLOAD = 25 << 20
"""Bytes that are reserved for an upload of unknown length: OpenAI takes no more."""
_TOKENS: Final = metrics.TOKENS.name
_CHARGES: Final = metrics.CHARGES.name
_CHUNKS: Final = (Dialect.chat, Dialect.completions)
_LIMITS: Final = {
    Dialect.chat: LIMITS[:2],
    Dialect.completions: LIMITS[1:2],
    Dialect.messages: LIMITS[1:2],
    Dialect.responses: LIMITS[2:],
}
_UPLOADS: Final = (Kind.images, Kind.listening)
_KNOWN = (Kind.speech, Kind.free)


class Request(NamedTuple):
    """The properties of a request that metering needs."""

    method: bytes
    target: bytes
    dialect: Dialect
    websocket: bool
    multipart: bytes
    """Its content type, where the body is in parts; else empty."""
    body: bytes | None
    """The whole body; None when it passes on as it comes."""
    crowded_out: bool = False
    """True if that is because there was no memory for it."""
    length: int = -1
    """Bytes of the body as the head says; -1: it does not."""
    not_json: bytes | None = None
    """The content type of a body that is not said to be JSON, "" if it has none."""


class Metering:
    """State that the metered requests of a worker share."""

    def __init__(
        self, uses: UsageBatches, totals: MetricRegistry, table: Table | None = None
    ) -> None:
        self.uses = uses
        self.reservations = Reservations(table or Table.alone(), uses)
        self._totals = totals
        self.prices = Prices({})
        self.typical = UsageEstimates()
        self._endpoints: Container[str] = ()
        self._models: Container[str] = ()
        self.offered: Container[str] = ()
        """Models that mirrors have, by the operator's word or their own."""
        self._named: dict[str, set[str]] = {}
        """By key: models that only a pattern prices, as recorded on the day `_named_on`."""
        self._named_on = ""
        self._most_read = 0
        """Bytes of a body that are collected, and so read, at most."""

    def configure(
        self,
        prices: Mapping[str, Sequence[PriceConfig]],
        endpoints: Container[str],
        models: Container[str],
        most_read: int,
    ) -> None:
        """`endpoints` is `keys.endpoints`; `models` are those that metrics name; `most_read` is
        `router.replay_body`."""
        self.prices = Prices(prices)
        self._endpoints, self._models, self._most_read = endpoints, models, most_read

    def begin(
        self, key: IssuedKey, request: Request, wall: float
    ) -> MeteredRequest | Problem | None:
        """Meter a request of an issued key, or of `ANONYMOUS`; None when it is not billed."""
        limited = key.left is not None or key.tokens_left is not None
        problem = refusal_of_lent(
            self._endpoints,
            request.method,
            request.target,
            limited=limited,
            websocket=request.websocket,
        )
        if problem is None and limited:
            problem = self.spent(key)
        if problem is not None:
            return problem
        kind = kind_of(request.method, request.target)
        return self._metered(key, request, kind, limited, wall) if kind is not None else None

    def _refusal_of_unread(self, request: Request) -> Problem:
        if request.not_json is not None:
            return refusal_of_media(request.not_json)
        return NO_MEMORY if request.crowded_out else refusal_of_unread(self._most_read)

    def spent(self, key: IssuedKey) -> Problem | None:
        """Why a key may ask for nothing more: its quota is used up."""
        cost, tokens = self.uses.spent(key.id)
        left = None if key.left is None else key.left - cost
        return refusal_of_spent(left, None if key.tokens_left is None else key.tokens_left - tokens)

    def _metered(
        self, key: IssuedKey, request: Request, kind: Kind, limited: bool, wall: float
    ) -> MeteredRequest | Problem:
        body, upload = request.body, request.multipart if kind in _UPLOADS else b""
        dialect = request.dialect
        limits = _LIMITS.get(dialect, ())
        asked, picky = None, bool(key.models)
        if body is not None:
            asked = scan_request(body, dialect in _CHUNKS, limits, everywhere=picky)
        problem = None
        if asked is not None:
            problem = _refusal_of_content(asked, limited)
        elif (limited or picky) and not upload:
            problem = self._refusal_of_unread(request)
        if problem is not None:
            return problem
        model = asked.model if asked is not None else ""
        named = [model] if model or kind is not Kind.free else []
        named += asked.other_models if asked is not None else []
        named += models_of_query(request.target.partition(b"?")[2]) if picky else []
        for each in named:
            problem = refusal_of_model(key, each)
            if problem is not None:
                return problem
        free = kind is Kind.free or bool(upload)
        if key.left is not None and not free and self.prices.of(model, day_of(wall)) is None:
            return refusal_of_price(model)
        metered = MeteredRequest(self, key, kind, request, asked, upload)
        if limited and kind is not Kind.free:
            found = self.reservations.enter(key, self._amounts(key, metered, wall))
            if isinstance(found, Problem):
                return found
            metered.reserved(found)
        return metered

    def _amounts(self, key: IssuedKey, metered: MeteredRequest, wall: float) -> tuple[int, int]:
        """Nano-units and tokens that a request may use."""
        usage = metered.expected()
        return self.cost(key, metered.models(), usage, day_of(wall))[1], usage.tokens

    def reserve(
        self,
        key: IssuedKey,
        model: str,
        size: int,
        most_output: int,
        wall: float,
        *,
        continues: bool,
    ) -> Reservation | Problem:
        """Reserve what an answer may cost; `size` and `continues` as in `RequestScan`,
        `most_output` as asked for or 0 where the request sets no limit."""
        output = most_output or max(_MOST_OUTPUT, self.typical.output(model))
        usage = Usage(input=self.input_of(model, size, continues=continues), output=output)
        cost = self.cost(key, [model], usage, day_of(wall))[1]
        return self.reservations.enter(key, (cost, usage.tokens))

    def input_of(self, model: str, size: int, *, continues: bool) -> int:
        """Tokens of input, with those of a conversation that the mirror keeps."""
        sent = size // BYTES_PER_TOKEN
        return sent + self.typical.input(model) if continues else sent

    def unmetered(self, reason: str) -> None:
        """The use of a request was estimated, or is not known."""
        self._totals.add(metrics.UNMETERED.name, (reason,))

    def cost(
        self, key: IssuedKey, models: Sequence[str], usage: Usage, day: str
    ) -> tuple[str, int]:
        """The model that is charged, and the cost; of several that an upload names, the dearest.

        Who has a quota of money pays for a model that is not known as for the dearest of all.
        """
        charged, highest, all_known = models[0] if models else "", 0, bool(models)
        for model in models:
            price = self.prices.of(model, day)
            if price is None:
                all_known = False
            elif (cost := price.cost(usage)) >= highest:
                charged, highest = model, cost
        if key.left is not None and not all_known:
            highest = self.prices.highest(usage, day)
        return charged, highest

    def recorded(self, key: str, model: str, day: str) -> str:
        """The name that a use is recorded by: models are callers' own words, and each makes a row.

        Recorded are models that are offered or priced by name, and of those that a pattern prices
        so many for each key and day.
        """
        if not model or model in self.offered or self.prices.names(model):
            return model
        if self.prices.of(model, day) is None:
            return OTHER
        if day != self._named_on:
            self._named_on, self._named = day, {}
        named = self._named.setdefault(key, set())
        if len(named) < MOST_NAMED:
            named.add(model)
        return model if model in named else OTHER

    def charge(
        self, key: IssuedKey, models: Sequence[str], usage: Usage, basis: Basis, day: str
    ) -> None:
        """Account for what a key has used on a day."""
        model, cost = self.cost(key, models, usage, day)
        self.count(model, usage)
        if key is not ANONYMOUS:
            self.uses.add(key.id, day, self.recorded(key.id, model, day), basis, usage, cost)
            self._totals.add(_CHARGES, (self._named_in_metrics(model),), cost / NANO)

    def _named_in_metrics(self, model: str) -> str:
        return model if model in self._models else OTHER

    def count(self, model: str, usage: Usage) -> None:
        """Tokens, for the metrics."""
        named = self._named_in_metrics(model)
        told = (("input", usage.input), ("cached", usage.cached), ("output", usage.output))
        for kind, amount in told:
            if amount:
                self._totals.add(_TOKENS, (named, kind), amount)


def _refusal_of_content(asked: RequestScan, limited: bool) -> Problem | None:
    """Why this content is not served: servers differ in its meaning, or it could not be metered."""
    if asked.ambiguous_key:
        message = f'The key "{asked.ambiguous_key}" must be sent once only, and in lower case.'
        return Problem(400, "ambiguous_request", message)
    if asked.not_whole:
        message = f'The value of "{asked.not_whole}" must be a whole number.'
        return Problem(400, "ambiguous_request", message)
    if asked.too_many:
        message = f'The value of "{asked.too_many}" must be {MOST_COUNT} at most.'
        return Problem(400, "integer_above_max_value", message)
    if limited and asked.background:
        message = 'A key with a quota may not ask for "background", which is not metered.'
        return Problem(403, "endpoint_not_metered", message)
    return None


class MeteredRequest:
    """One request; it settles once."""

    __slots__ = (
        "_asked",
        "_dialect",
        "_hide",
        "_key",
        "_kind",
        "_length",
        "_meter",
        "_metering",
        "_reservation",
        "_settled",
        "_size",
        "_upload",
        "body",
    )

    def __init__(
        self,
        metering: Metering,
        key: IssuedKey,
        kind: Kind,
        request: Request,
        asked: RequestScan | None,
        upload: bytes,
    ) -> None:
        """`upload`: the content type of a body whose parts name what is charged; else empty."""
        self._metering = metering
        self._key = key
        self._kind = kind
        self._dialect = request.dialect
        self._asked = asked
        self._size = asked.size if asked is not None else None
        """Of the body, for estimates, if it could be read."""
        self.body = asked.body if asked is not None else None
        """The body to send in place of the client's; None: send the client's."""
        self._hide = self.body is not None
        self._upload = UploadTap(upload) if upload else None
        self._length = request.length
        self._meter: Meter | None = None
        self._reservation: Reservation | None = None
        self._settled = False

    def __repr__(self) -> str:
        return f"<MeteredRequest {self._kind} for {self._key.id or 'nobody'}, {self._meter}>"

    @property
    def model(self) -> str:
        """The model that is asked for, exactly as a mirror will read it; "" when not known."""
        return self._asked.model if self._asked is not None else ""

    @property
    def key(self) -> IssuedKey:
        """The key that is charged."""
        return self._key

    @property
    def meter(self) -> Meter | None:
        """The reader of the answer, once there is one."""
        return self._meter

    @property
    def reads_on(self) -> bool:
        """True if an answer that its client has left still tells what it has used: not where the
        request has told that, nor where nobody is charged."""
        return self._key is not ANONYMOUS and self._kind not in _KNOWN

    def upload(self, piece: bytes) -> None:
        """A piece of a body that passes on as it comes."""
        if self._upload is not None:
            self._upload.feed(piece)

    def answer(self, head: ResponseHead) -> Meter | None:
        """The client gets this answer; None when there is nothing to read in it."""
        if head.status < 200 or head.status >= 400:
            return None
        images = self._kind is Kind.images
        self._meter = Meter(head, self._dialect, self._hide, images)
        return self._meter

    def settle(self, outcome: str, wall: float, *, sent: bool, received: int) -> None:
        """The exchange is over.

        `outcome` as `Stats.finished` has it; `sent`: a mirror had the whole request; `received`:
        bytes of its body, which matters where that was not collected.
        """
        if self._settled:
            return
        self._settled = True
        day = day_of(wall)
        size = received if self._size is None else self._size
        found = self._account(outcome, sent, size, day)
        if found is not None:
            usage, basis = found
            self._metering.charge(self._key, self.models(), usage, basis, day)
        if self._reservation is not None:
            self._metering.reservations.leave(self._reservation)

    def reserved(self, reservation: Reservation) -> None:
        """This much is reserved until it is settled."""
        self._reservation = reservation

    def expected(self) -> Usage:
        """Expected use, for a reservation: by the request's own limit, else by typical
        responses."""
        kind, asked, typical = self._kind, self._asked, self._metering.typical
        if asked is None:
            size = self._length if self._length >= 0 else _MOST_UPLOAD
            listens = kind is Kind.listening
            if listens:
                return Usage(audio_ms=size // BYTES_PER_MS)
            return Usage(output=_MOST_IMAGES * _IMAGE_TOKENS, images=_MOST_IMAGES)
        if kind is Kind.speech:
            return Usage(characters=asked.characters)
        if kind is Kind.images:
            return Usage(output=asked.images * _IMAGE_TOKENS, images=asked.images)
        output = 0
        if kind is Kind.text:
            each = asked.most_output or max(_MOST_OUTPUT, typical.output(asked.model))
            output = each * asked.choices
        return Usage(input=self._input(asked.size), output=output)

    def models(self) -> list[str]:
        """The model that is asked for, or those that an upload names; empty: not known."""
        if self._upload is not None:
            return [] if self._upload.unclear else sorted(self._upload.models)
        return [self.model]

    def _account(
        self, outcome: str, sent: bool, received: int, day: str
    ) -> tuple[Usage, Basis] | None:
        """Return the usage to charge and its basis; None: nothing is charged."""
        meter, success = self._meter, outcome == "success"
        if outcome in ("interrupted", "upstream_error"):
            return None
        if meter is None:
            gone = outcome == "client_abort" and sent and self._kind is not Kind.free
            return self._estimated(None, received, "left", day) if gone else None
        if meter.page or (success and not meter.size):
            return None
        told = meter.usage()
        if told is None and meter.error:
            return None
        exact = self._exact(meter, told, success)
        if exact is not None and not success and self._kind is Kind.text:
            return self._so_far(meter, exact, received)
        if exact is not None and not success and meter.images < self._images:
            self._metering.unmetered("left")
            return exact.plus(self._drawn(self._images - meter.images, day)), Basis.estimate
        if exact is not None:
            if success and self._kind is Kind.text:
                self._metering.typical.note(self.model, exact, self._visible(meter))
            return exact, Basis.usage
        reason = "left" if not success else "no_usage" if meter.readable else "encoding"
        return self._estimated(meter, received, reason, day)

    def _so_far(self, meter: Meter, told: Usage, received: int) -> tuple[Usage, Basis]:
        """Of a stream that was left: Anthropic's tell their input at the beginning and their output
        at the end, and some mirrors send zeros before the end."""
        if meter.final:
            return told, Basis.usage
        self._metering.unmetered("left")
        output = max(told.output, self._output(meter))
        asked = told.input or self._input(received)
        return told._replace(input=asked, output=output), Basis.estimate

    def _exact(self, meter: Meter, told: Usage | None, success: bool) -> Usage | None:
        """The mirror's words, with what was counted here; None when that is not all there is."""
        kind = self._kind
        if kind is Kind.free:
            return NOTHING
        if kind is Kind.speech and self._asked is not None:
            return (told or NOTHING)._replace(characters=self._asked.characters)
        if kind is Kind.images and (told is not None or (success and meter.images)):
            return (told or NOTHING)._replace(images=meter.images)
        return told

    @property
    def _images(self) -> int:
        """Images that are asked for; of an upload whose fields cannot be read as many as may be."""
        if self._kind is not Kind.images:
            return 0
        if self._asked is not None:
            return self._asked.images
        return (self._upload.images if self._upload is not None else 0) or _MOST_IMAGES

    def _drawn(self, images: int, day: str) -> Usage:
        """Estimated use of images of which the mirror has not told it: tokens, unless their price
        is by the image."""
        prices = [self._metering.prices.of(model, day) for model in self.models()]
        by_image = bool(prices) and all(p is not None and p.image and not p.output for p in prices)
        return Usage(output=0 if by_image else images * _IMAGE_TOKENS, images=images)

    def _estimated(
        self, meter: Meter | None, received: int, reason: str, day: str
    ) -> tuple[Usage, Basis]:
        self._metering.unmetered(reason)
        asked, kind = self._asked, self._kind
        if kind is Kind.images:
            usage = self._drawn(self._images, day)
        elif kind is Kind.speech:
            usage = Usage(characters=asked.characters if asked is not None else received)
        elif kind is Kind.listening:
            usage = Usage(audio_ms=received // BYTES_PER_MS)
        else:
            output = self._output(meter) if kind is Kind.text else 0
            usage = Usage(input=self._input(received), output=output)
        return usage, Basis.estimate

    def _input(self, received: int) -> int:
        """Tokens of input, with those of a conversation that the mirror keeps."""
        continues = self._asked is not None and self._asked.continues
        return self._metering.input_of(self.model, received, continues=continues)

    def _output(self, meter: Meter | None) -> int:
        """Tokens of output, by what was seen of it."""
        asked, model = self._asked, self.model
        seen = self._visible(meter) if meter is not None else 0
        suspected = is_reasoning(model) or (meter is not None and meter.reasons)
        ended = meter is not None and meter.ended
        kept = (self._keeps and not ended) or (asked is not None and asked.background)
        most = asked.most_output * asked.choices if asked is not None else 0
        return self._metering.typical.whole(model, seen, suspected, kept, most)

    @property
    def _keeps(self) -> bool:
        """True if the mirror keeps the answer for later: by default those to `responses`."""
        if self._dialect not in (Dialect.responses, Dialect.chat) or self._asked is None:
            return False
        if self._asked.store is None:
            return self._dialect is Dialect.responses
        return self._asked.store

    @staticmethod
    def _visible(meter: Meter) -> int:
        return meter.tokens if meter.is_stream else meter.size // BYTES_PER_TOKEN
