"""The work: what clients send, what the mirror answers, and what one unit of it is."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load import idle, sse, upload, wrk
from benchmarks.load.result import Load


@dataclass(frozen=True)
class Workload:
    """One kind of work; `unit` is what costs are told per.

    `mirror` is "static" (nginx, for small answers) or a mode of `benchmarks.mirror`. `only` names
    the proxies to compare where not all make sense.
    """

    name: str
    about: str
    unit: str
    mirror: str
    load: Callable[[], Load]
    tls: bool = False
    reply_bytes: int = 400
    only: tuple[str, ...] = ()

    @property
    def of_memory(self) -> bool:
        """True if it measures memory, not CPU time."""
        return self.unit == "stream"


_CHAT = "POST of 1 KB, JSON answer of 400 B"
_PACED = f"{_CHAT}, {wrk.RATE:,} a second"
_STREAMS = "200 streams of 100 events of 230 B, 20 ms apart, begun evenly"
_IDLE = "2,000 open streams that say nothing: memory per stream"

WORKLOADS: tuple[Workload, ...] = (
    Workload("chat", f"{_CHAT}, 32 connections", "request", "static", wrk.chat),
    Workload("chat-single", f"{_CHAT}, one connection", "request", "static", wrk.single),
    Workload("chat-many", f"{_CHAT}, 256 connections", "request", "static", wrk.many),
    Workload("tail", f"{_PACED}, 32 connections", "request", "static", wrk.paced),
    Workload("tail-many", f"{_PACED}, 256 connections", "request", "static", wrk.paced_many),
    Workload(
        "chat-large",
        "POST of 200 KB, JSON answer of 20 KB, 32 connections",
        "request",
        "reply",
        wrk.large,
        reply_bytes=20_000,
    ),
    Workload("chat-tls", f"{_CHAT}, TLS to the mirror", "request", "static", wrk.chat, tls=True),
    Workload("sse", _STREAMS, "event", "sse", sse.Streams),
    Workload("sse-tls", f"{_STREAMS}, TLS to the mirror", "event", "sse", sse.Streams, tls=True),
    Workload("upload", "multipart upload of 100 MB", "MB", "reply", upload.Uploads),
    Workload("idle-streams", _IDLE, "stream", "idle", idle.IdleStreams),
    Workload(
        "idle-streams-tls", f"{_IDLE}, TLS to the mirror", "stream", "idle", idle.IdleStreams, True
    ),
    Workload(
        "two-workers",
        f"{_CHAT}, 32 connections, one and two workers",
        "request",
        "static",
        wrk.chat,
        only=("mirrorgate", "mirrorgate-2"),
    ),
    Workload(
        "cluster",
        f"{_CHAT}, 32 connections, alone and as one of three hosts",
        "request",
        "static",
        wrk.chat,
        only=("mirrorgate-compiled", "mirrorgate-cluster"),
    ),
    Workload(
        "cluster-tail",
        f"{_PACED}, 32 connections, alone and as one of three hosts",
        "request",
        "static",
        wrk.paced,
        only=("mirrorgate-compiled", "mirrorgate-cluster"),
    ),
)


def by_name(name: str) -> Workload:
    """Return the workload. Raises KeyError."""
    return {workload.name: workload for workload in WORKLOADS}[name]
