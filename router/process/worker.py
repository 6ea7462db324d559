"""One data-plane process: takes connections from the shared socket, and news from control.

Started by the supervisor with inherited descriptors. No request waits for the database or the disk,
except for the authorities that a mirror's certificate is checked by, which are read before its
first connection. When control is gone it goes on with the last snapshot.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from monitor.common import logs
from monitor.common.compiled import form
from monitor.common.ipc import Channel, ChannelClosed, Message
from monitor.common.metric_registry import MetricRegistry
from monitor.common.process_metrics import FAMILIES as PROCESS_FAMILIES
from monitor.common.process_metrics import LOOP_DELAY
from monitor.common.settings import read
from monitor.common.tasks import FAMILIES as TASK_FAMILIES
from monitor.common.tasks import Tasks, cancelled
from monitor.health.snapshot import HealthSnapshot
from router.admission.client_address import Peer
from router.admission.shared_table import Table
from router.balancing.breaker_messages import Word, from_message, to_message
from router.cluster.shortages import Shortages
from router.forwarding.client_connection import ClientConnection
from router.forwarding.config import RouterConfig, TracesConfig, WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.forwarding.stats import Finished
from router.metering.batches import UsageBatches
from router.process.access_log import access_log
from router.process.control_questions import ControlQuestions
from router.process.endpoints import build_app, build_runner
from router.process.explain import explain_mirrors, explain_request, newest_requests
from router.process.inherited import end_with_parent, read_document
from router.process.last_lists import LastLists
from router.process.listener import Acceptor, TlsListener
from router.process.replica import ASK_AGAIN, Replica, ReplicatedList
from router.process.reports import Reports
from router.process.worker_lists import ReplicatedBans, ReplicatedKeys

if TYPE_CHECKING:
    from router.process.tracing import Tracer

log = logging.getLogger("worker")

GC_THRESHOLDS = (50_000, 20, 100)
"""Requests leave no cycles behind; with Python's own thresholds, looking for some took 5 % of the
CPU of small requests."""
FIRST_STATE_WAIT = 5.0
"""Seconds to wait for control's first word, with all bans and keys, before serving with those that
were the last ones when this worker started, or without."""
_CROWDED_GAP = 60.0
_BANS, _KEYS = "bans", "issued keys"
_SAID = {"bans": _BANS, "keys": _KEYS}
"""Lists, as an operator reads of them."""


class Worker:
    """Wires one worker process."""

    def __init__(
        self,
        slot: int,
        config: WorkerConfig,
        feed: Channel,
        life: Channel,
        table: Table,
        lists: LastLists,
    ) -> None:
        self._name = f"{slot}-{os.getpid()}-{time.time_ns()}"
        self._logged_as = f"worker-{slot}"
        self._feed = feed
        self._life = life
        table.on_stuck = self._on_stuck
        table.on_short = Shortages(self._tell).note
        self._totals = MetricRegistry((*FAMILIES, *PROCESS_FAMILIES, *TASK_FAMILIES))
        self._tasks = Tasks(self._totals, "worker")
        self._tls = TlsListener(config.router)
        self._informed = asyncio.Event()
        self._stop = asyncio.Event()
        self._uses = UsageBatches()
        self._reports = Reports(self._name, self._totals, self._uses, self._tell)
        self._acceptor: Acceptor | None = None
        self._crowded_at = float("-inf")
        self._noticed: set[tuple[str, str]] = set()
        self._control = ""
        """The control process that we have heard from last."""
        self._context = WorkerContext(
            config,
            self._totals,
            hand_over=self._hand_over,
            report_failure=self._reports.failure,
            report_refusal=self._reports.refusal,
            notice=self._notice,
            table=table,
            uses=self._uses,
            tell=self._say,
            access=self._access_log(config.log),
            accept=self._accept,
        )
        self._traces = TracesConfig()
        self._tracer: Tracer | None = None
        self._trace(config.traces)
        self._awaited = {"bans", "keys"}
        """Lists that have not come yet."""
        self._context.missing |= {_BANS, _KEYS}
        bans = ReplicatedBans(self._context)
        keys = ReplicatedKeys(self._context.keys, self._context.end_revoked)
        self._recall(lists, {"bans": bans, "keys": keys})
        self._bans = self._follower("bans", bans)
        self._keys = self._follower("keys", keys)
        self._lists: dict[str, Callable[[Message], None]] = {
            "bans": self._bans.piece,
            "ban": self._bans.add,
            "unban": self._bans.remove,
            "keys": self._keys.piece,
            "key": self._keys.add,
            "unkey": self._keys.remove,
        }
        """What is heard of them."""
        self._questions = ControlQuestions(self._name, self._tell)
        self._runner = build_runner(build_app(self._context, self._questions))

    def _follower(self, name: str, followed: ReplicatedList) -> Replica:
        question = {"type": f"{name}?", "process": self._name}
        return Replica(followed, partial(self._tell, question), partial(self._complete, name))

    def _recall(self, lists: LastLists, followed: dict[str, ReplicatedList]) -> None:
        """Take the lists that control wrote last; it is asked for them all the same."""
        for message in lists.read():
            kind = message["type"]
            if kind == "allowed":
                self._context.limits.allow(message["rows"])
                continue
            if message["piece"] == 0:
                followed[kind].begin()
            followed[kind].collect(message)
            if message["piece"] + 1 == message["of"]:
                followed[kind].finish()
                self._context.missing.discard(_SAID[kind])

    def _complete(self, name: str) -> None:
        self._awaited.discard(name)
        self._context.missing.discard(_SAID[name])
        if not self._awaited:
            self._informed.set()

    async def _look(self) -> None:
        """Ask again for lists whose answer was lost, until cancelled."""
        while True:
            await asyncio.sleep(ASK_AGAIN)
            self._bans.look()
            self._keys.look()

    def _hand_over(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return server()

    async def run(self, listen: socket.socket) -> None:
        """Serve until told to stop, then drain."""
        loop = asyncio.get_running_loop()
        self._tasks.watch(loop)
        loop.add_signal_handler(signal.SIGTERM, self._on_stop)
        self._life.attach(loop, self._on_life, self._orphaned)
        self._feed.attach(loop, self._on_feed, self._on_feed_closed)
        self._context.wheel.on_tick = partial(self._totals.observe, LOOP_DELAY.name)
        self._context.wheel.start(loop)
        await self._runner.setup()
        self._tell({"type": "hello", "process": self._name, "pid": os.getpid(), "form": form.name})
        try:
            await asyncio.wait_for(self._informed.wait(), FIRST_STATE_WAIT)
        except TimeoutError:
            if missing := " and ".join(sorted(self._context.missing)):  # no control has run yet
                log.info("control is still starting: serving without %s until it has", missing)
            else:
                log.warning("control is silent: serving with the last lists")
        if not self._stop.is_set():
            await self._serve(listen)
        await self._runner.cleanup()
        self._context.wheel.stop()
        if self._tracer is not None:
            await self._tracer.flush()

    async def _serve(self, listen: socket.socket) -> None:
        proxied = header_patience(self._context.router)
        acceptor = Acceptor(
            listen,
            partial(ClientConnection, self._context),
            self._tls.context,
            proxied,
            self._tasks,
        )
        self._acceptor = acceptor
        await acceptor.resume()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        services = [
            self._tasks.service("reports", partial(self._reports.run, self._context)),
            self._tasks.service("lists", self._look),
        ]
        self._life.send({"type": "ready"})
        await self._stop.wait()
        acceptor.stop()
        with self._tasks.guarded("drain"):  # what keys have used must be told in any case
            await self._drain()
        await cancelled(services)
        await self._reports.settle_uses()
        self._reports.send_totals(self._context)

    def _accept(self, on: bool) -> None:
        if self._acceptor is not None:
            self._acceptor.set(on)
        if not on and time.monotonic() - self._crowded_at > _CROWDED_GAP:
            self._crowded_at = time.monotonic()
            log.warning("connection limit reached; accepting paused (raise `ulimit -n`)")

    def _on_stop(self) -> None:
        self._stop.set()
        self._informed.set()

    async def _drain(self) -> None:
        context = self._context
        context.drain()
        try:
            async with asyncio.timeout(context.timeouts.drain):
                await context.emptied.wait()
                await context.abandoned.settled()
        except TimeoutError:
            log.warning("drain timeout: closing %d connections", len(context.connections))
        context.abandoned.close()
        for client in context.connections.all():
            client.cut()
        await asyncio.sleep(0)

    # Messages

    def _on_life(self, message: Message) -> None:
        if message["type"] == "ping":
            self._life.send({"type": "pong"})

    def _on_stuck(self, lock: int, holder: int) -> None:
        with contextlib.suppress(ChannelClosed):  # then all end
            self._life.send({"type": "stuck", "lock": lock, "holder": holder})

    def _orphaned(self) -> None:
        os._exit(1)  # the supervisor is gone: all end

    def _on_feed_closed(self) -> None:
        """The supervisor holds both ends: this happens only when it is gone, or by a fault."""
        log.error("the channel to control is closed: serving with the last state")

    def _on_feed(self, message: Message) -> None:
        kind = message["type"]
        if message.get("to", self._name) != self._name:
            return  # for the process that was here before
        if kind == "state":
            self._take_state(message)
            self._reports.send_totals(self._context)  # a new control has nobody's numbers yet
            self._meet(message["control"], message.get("secret", ""))
            self._bans.state(message["control"], message["bans"])
            self._keys.state(message["control"], message["keys"])
        elif kind == "breaker":
            self._context.pool.hear(from_message(message), self._context.clock())
        elif kind == "explain":
            self._explain(message)
        elif kind == "told":
            self._questions.receive(message)
        elif kind == "used":
            self._uses.acknowledged(message["seq"])
        elif kind == "news":
            self._context.learn(self._context.snapshot.with_news(message["snapshot"]))
        elif kind == "allowed":
            self._context.limits.allow(message["rows"])
        elif kind in self._lists:
            self._lists[kind](message)

    def _take_state(self, message: dict[str, Any]) -> None:
        config = read(WorkerConfig, message["config"])
        self._noticed.clear()
        self._note_removed(config)
        self._context.configure(config, HealthSnapshot.from_json(message["snapshot"]))
        logs.configure(config.log, self._logged_as)
        try:
            self._tls.load(config.router)
        except (OSError, ssl.SSLError) as error:
            log.error("the new certificate cannot be used, the old one stays in use: %s", error)
        if self._acceptor is not None:
            self._acceptor.expect_headers(header_patience(config.router))
        self._context.access = self._access_log(config.log)
        self._trace(config.traces)

    def _meet(self, control: str, secret: str) -> None:
        """Tell a control process that is new to us which paths fail and which mirrors are
        ejected."""
        if control != self._control:
            self._control = control
            self._questions.reconnect(secret)
            self._reports.meet_control(self._context)
            self._context.pool.forget_leases()
            self._uses.to_new_control()
            for standing in self._context.pool.standings():
                self._say(standing)

    def _explain(self, message: Message) -> None:
        """Answer a question on mirrors, on the last requests, or on one request."""
        context, wanted = self._context, message.get("request")
        told: Message = {"type": "explained", "process": self._name, "number": message["number"]}
        if newest := message.get("newest"):
            told["requests"] = newest_requests(context, newest)
        elif wanted is None:
            told["mirrors"] = explain_mirrors(context)
        else:
            told["request"] = explain_request(context, wanted)
        self._tell(told)

    def _notice(self, setting: str, peer: Peer) -> None:
        """Say once for each kind of proxy that a setting is missing, until there are others."""
        known = (setting, peer.suspect)
        if known not in self._noticed:
            self._noticed.add(known)
            field = self._context.router.client_ip_header
            told = {"setting": setting, "looks": peer.suspect, "field": field}
            self._tell({"type": "notice", "address": peer.client.address, **told})

    def _note_removed(self, config: WorkerConfig) -> None:
        known = {mirror.id for mirror in config.mirrors}
        gone = {upstream.id for upstream in self._context.upstreams} - known
        self._reports.removed(gone, config.router.timeouts.drain, known)

    def _access_log(self, config: logs.LogConfig) -> Callable[[Finished], None] | None:
        try:
            return access_log(config, self._logged_as)
        except OSError as error:  # serving is worth more than its log
            reason = f"{config.access} cannot be written ({error.strerror})"
            log.error("requests are not logged: %s: set log.access", reason)
            return None

    def _trace(self, config: TracesConfig) -> None:
        """Take the settings of traces; the SDK is loaded only where they are on."""
        if config == self._traces:
            return
        if self._tracer is not None:
            self._tracer.close()
        self._traces, self._tracer = config, None
        if config.endpoint:
            from router.process.tracing import Tracer

            self._tracer = Tracer(config, self._name, self._context.rng)
        self._context.tracer = self._tracer

    def _say(self, word: Word) -> None:
        self._tell({**to_message(word), "process": self._name})

    def _tell(self, message: Message) -> None:
        try:
            self._feed.send(message)
        except ChannelClosed:
            log.error("the channel to control is closed")


def header_patience(router: RouterConfig) -> float | None:
    """Seconds for the PROXY header that begins every connection; None: there is none."""
    return router.timeouts.header if router.proxy_protocol else None


def tell_other_form(supervisors: str) -> None:
    """Log that this worker runs in another form than the supervisor, which began before a source
    or the compiled form was changed. A form that is theirs the supervisor has told of."""
    if form.name != supervisors:
        log.warning("running %s, where the supervisor is %s: start it anew", form, supervisors)


def main() -> int:
    """Entry point of the process; all arguments are written by the supervisor."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m router.process.worker")
    for name in ("slot", "feed", "life", "listen", "document", "table", "lists", "workers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--form", default=form.name)
    args = parser.parse_args()
    config = read(WorkerConfig, read_document(args.document)["worker"])
    logs.configure(config.log, f"worker-{args.slot}")
    tell_other_form(args.form)
    feed, life = Channel.from_fd(args.feed), Channel.from_fd(args.life)

    async def serve() -> None:
        table = Table(args.table, args.slot, args.workers + 1)
        worker = Worker(args.slot, config, feed, life, table, LastLists(args.lists))
        await worker.run(socket.socket(fileno=args.listen))

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except Exception:  # not to stderr by itself, which would show what the exception says
        log.critical("the worker ends", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
