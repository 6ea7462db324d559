"""The parts of an exchange and of its client that a response needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from router.admission.client_address import Client
from router.admission.credentials import Credentials
from router.balancing.failure import Failure
from router.balancing.pool import Attempt
from router.forwarding.body import RequestBody
from router.forwarding.context import WorkerContext
from router.metering.metered_request import MeteredRequest
from router.metering.websocket_meter import WebSocketMeter
from router.upstream.dialect import Dialect
from router.upstream.upstream import Upstream
from router.wire.request import RequestHead
from router.wire.response import ResponseHead


class ClientSide(Protocol):
    """The client's connection."""

    client: str
    transport: asyncio.Transport

    def pause_client(self) -> None:
        """Read no more for now."""

    def resume_client(self) -> None:
        """Read again."""

    def cut(self) -> None:
        """End the connection whatever it is doing."""

    def exchange_done(self, keep_alive: bool) -> None:
        """The answer is written; the connection may carry the next request or not."""


class Asker(Protocol):
    """The exchange whose request is answered."""

    id: bytes
    context: WorkerContext
    client: ClientSide
    head: RequestHead
    body: RequestBody
    endpoint: str
    complete_at: float
    """When the request was complete, on the plane's clock."""
    early_tunnel: list[bytes]
    """What the client sent behind a WebSocket request."""
    metered: MeteredRequest | None
    """What counts the use of a mirror's key, if that is lent."""
    dialogue: WebSocketMeter | None
    """What judges and counts the messages of a WebSocket with a mirror's key, if they are known."""
    told: bool
    """True if the client has a head and comments already, because the answer took long."""

    @property
    def dialect(self) -> Dialect:
        """The dialect of the response's events."""

    @property
    def failed_attempts(self) -> int:
        """Number of attempts that failed before this one."""

    @property
    def credentials(self) -> Credentials:
        """The keys that the client showed."""

    @property
    def with_mirror_key(self) -> bool:
        """True if the mirror got its own key instead of the caller's."""

    @property
    def client_has_stalled(self) -> bool:
        """True if the client has taken nothing for so long that a mirror may have given up."""

    @property
    def may_keep_alive(self) -> bool:
        """True if the client's connection could carry another request."""

    @property
    def asker(self) -> Client:
        """The client that the request is for, perhaps behind a proxy."""

    @property
    def client_stalls(self) -> bool:
        """True if the client takes no more for now."""

    def wait(self, seconds: float) -> None:
        """Something happened; the next thing must happen within this time."""

    def wait_no_more(self) -> None:
        """From here on the client and the mirror alone know how long it takes."""

    def heard(self) -> None:
        """A piece of the answer came; the next must come in time."""

    def head_came(self) -> None:
        """A head came; now content must."""

    def content(self) -> None:
        """The first of the answer goes to the client, and more may follow."""

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The answer has ended, well or not; the client has it."""

    def hand_over_attempt(self) -> Attempt[Upstream]:
        """The attempt of a tunnel whose client leaves, which its new owner ends."""

    def cut(self, failure: Failure) -> None:
        """The answer has broken off after the client had its beginning."""

    def unanswered(self, failure: Failure, detail: str, head: ResponseHead | None = None) -> None:
        """There is no answer, and the client has nothing of one; `head` is what came instead."""

    def leaves(self, failure: Failure, detail: str, head: ResponseHead) -> bool:
        """The mirror answers with an error: whether another one is tried instead."""

    def limited_by_key(self, head: ResponseHead) -> None:
        """The caller's own key has reached its limit there."""

    def refused_in_stream(self, status: int, error: Mapping[str, Any] | None) -> None:
        """The client has a head already, and this error instead of an answer."""

    def abort(self) -> None:
        """End after a fault of ours."""

    def withhold(self) -> None:
        """The answer quotes the mirror's key, or hides what it holds: the client gets an error."""
