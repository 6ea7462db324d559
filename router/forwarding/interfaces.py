"""The interface between an exchange, its client's connection and its response."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol

from router.balancing.failure import Failure
from router.forwarding.context import WorkerContext
from router.forwarding.deadlines import Deadlines
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy
from router.metering.metered_request import MeteredRequest
from router.metering.websocket_meter import WebSocketMeter
from router.upstream.connection import UpstreamConnection
from router.upstream.dialect import Dialect
from router.upstream.request_body import RequestBody
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem
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
        """End the connection, whatever it is doing."""

    def exchange_done(self, keep_alive: bool) -> None:
        """The response is written; the connection may carry the next request or not."""


class ResponseOwner(ABC):
    """The exchange, as its attempts and its response see it: the request, and what is reported.

    A base class, for compiled code finds its attributes without looking them up: a response does so
    forty times.
    """

    __slots__ = ()

    id: bytes
    context: WorkerContext
    client: ClientSide
    head: RequestHead
    request: RequestContext
    body: RequestBody
    endpoint: str
    policy: RequestPolicy | None
    dialect: Dialect
    deadlines: Deadlines
    complete_at: float
    queued: int
    head_sent: bool
    early_tunnel: list[bytes]
    metered: MeteredRequest | None
    dialogue: WebSocketMeter | None

    @abstractmethod
    def send(self, upstream: Upstream, connection: UpstreamConnection, opened_in: float) -> None:
        """Send the request: an attempt has a connection, which took so many seconds to open."""

    @abstractmethod
    def may_keep_alive(self) -> bool:
        """True if the client's connection can carry another request."""

    @abstractmethod
    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The client has the response, or as much of it as there will be."""

    @abstractmethod
    def unanswered(self, failure: Failure, detail: str, head: ResponseHead | None = None) -> None:
        """There is no answer, and the client has nothing of one; `head` is what came instead."""

    @abstractmethod
    def try_elsewhere(
        self, failure: Failure, detail: str, head: ResponseHead, *, aside: bool = False
    ) -> bool:
        """Try another mirror instead of an error that this one answers with; False if not allowed.
        `aside`: this response is set aside for the client, and so may one have been before."""

    @abstractmethod
    def withhold(self, problem: Problem) -> None:
        """Give the client this error instead of the response."""

    @abstractmethod
    def end_stream(self, words: bytes, outcome: str) -> None:
        """End a stream that has only comments so far with these words."""

    @abstractmethod
    def abort(self) -> None:
        """End after a fault of ours."""
