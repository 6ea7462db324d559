"""The control process: monitor, store, dashboard, and the workers' feeds, wired together.

Started by the supervisor with inherited descriptors. It is the only writer of history and of
snapshots, and the only Prometheus target; no request depends on it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from dashboard.admin.app import build_admin_app
from dashboard.admin.traffic import TrafficLog
from dashboard.common import connections
from dashboard.public.app import build_public_app, public_gate
from monitor.common import logs
from monitor.common.ipc import Channel, ChannelClosed, Message
from monitor.common.keys import KeyBook
from monitor.common.machine import MachineWatch
from monitor.common.metric_registry import MetricRegistry
from monitor.common.process_metrics import RESTARTS
from monitor.common.tasks import Tasks, Work, acting_meanwhile, cancelled
from monitor.engine.monitor import Monitor
from monitor.engine.scheduler import stale_after
from monitor.health.announcements import Announced
from monitor.health.snapshot import HealthBoard, HealthSnapshot
from monitor.notify.conditions import Topic
from monitor.notify.notifier import Notifier
from monitor.store import announcements
from monitor.store.bans import Allowance
from monitor.store.lease import Holder
from monitor.store.store import Store, StoreError
from router.admission.shared_table import Table
from router.cluster.membership import Membership, MissingPart
from router.cluster.views import Views
from router.control.admin_commands import AdminCommands
from router.control.announcement_service import AnnouncementService
from router.control.audit_trail import AuditTrail
from router.control.ban_service import BanService, BansInForce
from router.control.breaker_coordinator import BreakerCoordinator
from router.control.changes import Changes, cautions
from router.control.configuration import SIGNAL, Configuration, Loaded, worker_part
from router.control.document import Config, Document
from router.control.handover import ListKeeper
from router.control.inspections import Inspections
from router.control.instance_metrics import FAMILIES, InstanceMetrics, KeptTotals
from router.control.key_service import KeyService
from router.control.ledger import Ledger
from router.control.monitor_capacity import SharedCapacity
from router.control.notices import Notices
from router.control.page_sources import PageSources
from router.control.sections import notification_style, told_as, vantage_name
from router.control.sessions import SWEEP_EVERY, Sessions
from router.control.worker_channels import WorkerChannels
from router.control.worker_questions import Questions
from router.process.inherited import end_with_parent, read_document
from router.process.last_lists import LastLists

log = logging.getLogger("control")

SIGN_OF_LIFE_EVERY = 5.0
THREADS_TAKE_TURNS_AFTER = 0.0005
"""Seconds; Python's own 5 ms pass at every system call of the loop while another thread computes:
pages took up to 72 ms beside scrapes of a hundred mirrors, and take 27."""
_MEET_WITHIN = 2.0
"""Seconds that a successor waits for "met" of every worker; they answer at once or hang."""
GC_THRESHOLDS = (20_000, 10, 20)
"""A scrape of a hundred mirrors makes some 300,000 objects. With Python's own thresholds all others
were looked through meanwhile, again and again: the loop came more than 50 ms late once a scrape."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """The supervisor's channels and shared memory, which outlive this process."""

    feeds: list[Channel]
    """To the workers."""
    life: Channel
    """To the supervisor."""
    table: Table
    lists: LastLists
    totals: KeptTotals


@dataclass(frozen=True, slots=True)
class Restored:
    """The part of the store that is in memory from the start on."""

    banned: BansInForce
    allowances: list[Allowance]
    keys: KeyBook
    announced: Announced
    notified: Mapping[Topic, str]
    """The level that receivers were last notified of, for each topic."""

    @classmethod
    async def read(cls, store: Store, notifies_as: str) -> Restored:
        """Read it; a large store takes seconds. Raises StoreError."""
        now = time.time()
        return cls(
            banned=BansInForce(await store.active_bans(now)),
            allowances=await store.allowances(now),
            keys=await store.key_book(),
            announced=await store.read(announcements.announced),
            notified=await store.read(lambda s: announcements.told(s, notifies_as)),
        )


class Control:
    """Wires one control process."""

    def __init__(
        self,
        loaded: Loaded,
        inherited: Inherited,
        store: Store,
        restored: Restored,
        totals: MetricRegistry,
        tasks: Tasks,
    ) -> None:
        self._life, table = inherited.life, inherited.table
        table.on_stuck = self._on_stuck
        self._stop = asyncio.Event()
        self._totals = totals
        self._tasks = tasks
        config = loaded.current.config
        self._metrics = InstanceMetrics(
            totals,
            inherited.totals,
            [mirror.id for mirror in config.mirrors],
            self._count_keys,
        )
        self._board = HealthBoard(vantage_of(loaded))
        self._told = self._board.current
        """The snapshot that every worker has, or has been sent."""
        self._audit_trail = AuditTrail(store)
        self._store, self._notifies_as = store, told_as(loaded.started.config)
        cluster, holder = loaded.started.config.cluster, Holder.of_process(os.getppid())
        self._membership = Membership(
            cluster, store, holder, table, vantage_of(loaded), totals, self._take_over
        )
        self._notifier = Notifier(
            restored.notified,
            self._keep_notified,
            totals,
            tasks,
            leads=self._membership.leads,
        )
        self._configuration = Configuration(
            loaded, self._apply, self._tell, self._count_reload, self._audit_trail.note
        )
        self._channels = WorkerChannels(
            inherited.feeds, self._metrics.merged, self._whole_state, self._hear, self._worker_left
        )
        self._breakers = BreakerCoordinator(
            self._channels.broadcast, self._channels.send, self._totals
        )
        self._monitor = Monitor(
            config.monitor,
            config.mirrors,
            store,
            self._board,
            self._totals,
            self._publish,
            probed=self._breakers.probed,
            capacity=SharedCapacity(table),
            tasks=tasks,
        )
        self._monitor.history.prunes = self._membership.leads
        self._shares_store = not loaded.started.config.store.url.startswith("sqlite")
        self._monitor.history.shares = self._shares_store
        self._views = Views(
            store, vantage_of(loaded), lambda: self._board.current, self._monitor.see_from
        )
        self._ban_service = BanService(
            store,
            restored.banned,
            restored.allowances,
            self._channels.broadcast,
            self._totals,
            on_ban=self._notifier.banned,
            tell_others=self._membership.tell,
        )
        self._machine = MachineWatch(
            store.clock, self._metrics.lost_lines, self._ban_service.recall, self._totals
        )
        self._key_service = KeyService(
            store,
            restored.keys,
            self._channels.broadcast,
            config.keys.prefix,
            on_use=self._notifier.charged,
            tell_others=self._membership.tell,
        )
        self._membership.followed_by(self._ban_service, self._key_service)
        self._announcement_service = AnnouncementService(
            store,
            restored.announced,
            self._monitor.set_wish,
            lambda: self._board.current,
            shared=self._shares_store,
        )
        self._list_keeper = ListKeeper(self._ban_service, self._key_service, inherited.lists)
        self._ledger = Ledger(store, self._key_service, self._channels.send, self._totals)
        legacy = config.legacy
        self._sessions = Sessions(self._answer, ttl=legacy.session_ttl, memory=legacy.memory)
        self._secret = secrets.token_hex(32)
        """Key of the digests that sessions are known by."""
        self._notices = Notices()
        self._view = PageSources(
            self._configuration,
            self._board,
            self._breakers.ejections,
            lambda: self._monitor.history.past,
            lambda: self._announcement_service.current,
            restored.banned,
            self._metrics,
            self._key_service.find_key,
        )
        self._traffic = TrafficLog(self._view)
        self._questions = Questions(self._channels)
        self._commands = AdminCommands(
            self._configuration,
            self._monitor,
            self._ban_service,
            self._key_service,
            self._announcement_service,
            self._channels,
            self._notices,
            self._questions,
            store,
            self._audit_trail,
            Inspections(tasks),
            self._notifier,
            table,
            self._membership,
            self._machine,
        )
        self._configure(config)
        self._count_reload(True)

    async def run(self, listeners: dict[str, socket.socket]) -> None:
        """Serve until told to stop; whatever raises on the way, all that was started is stopped."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        async with AsyncExitStack() as stack:
            self._life.attach(loop, self._on_life, self._stop.set)
            stack.callback(self._life.detach)
            self._keep_up(stack, "audit", self._audit_trail.run)
            stack.push_async_callback(self._audit_trail.close)
            stack.push_async_callback(self._monitor.stop)
            await self._monitor.start(probes=False)
            stack.push_async_callback(self._ledger.write)  # what the channels read last
            self._keep_up(stack, "last lists", self._list_keeper.run)
            stack.callback(self._channels.stop)
            self._channels.start(loop)
            first = self._tasks.job("first probes", self._begin_to_probe)
            stack.push_async_callback(cancelled, [first])
            for name, sock in listeners.items():
                await self._serve(name, sock, stack)
            self._keep_up(stack, "told", self._notifier.run)
            self._keep_up(stack, "configuration", self._configuration.watch)
            self._keep_up(stack, "ban rules", self._ban_service.run)
            self._keep_up(stack, "announcements", self._announcement_service.run)
            self._keep_up(stack, "ledger", self._ledger.run)
            self._keep_up(stack, "breakers", self._breakers.run)
            self._keep_up(stack, "sessions", self._sweep_sessions)
            if self._shares_store:
                self._keep_up(stack, "keys", self._key_service.follow)
                self._keep_up(stack, "bans", self._ban_service.follow)
                self._keep_up(stack, "views", self._views.run)
                self._keep_up(stack, "overrides", self._monitor.follow)
            for part in self._membership.services():
                self._keep_up(stack, *part)
            self._keep_up(stack, "traffic", self._traffic.run)
            self._keep_up(stack, "machine", self._machine.run)
            self._keep_up(stack, "delay", self._metrics.measure_delay)
            self._keep_up(stack, "totals", self._metrics.keep_now_and_then)
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            self._tell({"type": "ready"})
            stack.callback(self._metrics.keep)
            await self._stop.wait()

    async def _begin_to_probe(self) -> None:
        """Begin once the workers of a predecessor have told what they saw while it was dead: the
        first probes might show a blocked name where it was not shown yet."""
        if self._metrics.succeeds:
            await self._channels.all_met(_MEET_WITHIN)
        self._monitor.begin()

    def _keep_up(self, stack: AsyncExitStack, name: str, work: Work) -> None:
        """Run a part for as long as the process."""
        stack.push_async_callback(cancelled, [self._tasks.service(name, work)])

    async def _serve(self, name: str, sock: socket.socket, stack: AsyncExitStack) -> None:
        if name == "dashboard":
            app = build_public_app(self._view, stale_after=self._stale_after)
            await connections.serve(app, sock, stack, public_gate(app))
            return
        trusted = name == "socket"
        commands = build_admin_app(
            self._view,
            self._commands,
            trusted=trusted,
            traffic=self._traffic,
            stale_after=self._stale_after,
        )
        if trusted:
            await connections.serve_on_unix_socket(commands, sock, stack)
        else:
            await connections.serve(commands, sock, stack, None)

    def _stale_after(self) -> float:
        return stale_after(self._configuration.current.config.monitor.interval)

    # Workers

    def _state(self) -> Message:
        return {
            "type": "state",
            "control": self._metrics.process,
            "config": worker_part(self._configuration.current),
            "snapshot": self._board.current.to_json(),
            "bans": self._ban_service.version,
            "keys": self._key_service.version,
            "secret": self._secret,
        }

    def _whole_state(self) -> list[Message]:
        """For a worker that knows nothing."""
        return [self._state(), *self._breakers.state(), self._ban_service.allowed()]

    def _publish(self, snapshot: HealthSnapshot) -> None:
        news = snapshot.news_since(self._told)
        self._channels.broadcast({"type": "news", "snapshot": news})
        self._told = snapshot
        self._breakers.see(snapshot)
        self._notifier.see(snapshot)

    def _hear(self, message: Message) -> None:
        """Take a worker's report of traffic."""
        if message["type"] == "alerts":
            self._ban_service.hear(message["rows"])
        elif message["type"] == "bans?":
            self._channels.send_encoded(message["process"], self._ban_service.bans())
        elif message["type"] == "keys?":
            self._channels.send_encoded(message["process"], self._key_service.messages())
        elif message["type"] == "use":
            self._ledger.hear(message["process"], message)
        elif message["type"] == "notice":
            self._notices.hear(message)
        elif message["type"] == "breaker":
            self._breakers.hear(message)
        elif message["type"] == "short":
            self._membership.hear_short(message)
        elif message["type"] == "explained":
            self._questions.hear(message)
        elif message["type"] == "session?":
            session, owner = map(bytes.fromhex, (message["session"], message["owner"]))
            self._sessions.ask(message["process"], message["number"], session, owner)
        elif message["type"] == "session!":
            self._sessions.give_back(message["process"], message["number"], message["turns"])
        elif message["type"] == "account?":
            self._tasks.job("an account", partial(self._tell_account, message))
        else:
            self._monitor.hear(message)

    def _answer(self, process: str, message: Message) -> None:
        """Answer a worker's question (`router/process/control_questions.py`)."""
        self._channels.send(process, {**message, "type": "told"})

    async def _tell_account(self, message: Message) -> None:
        try:
            account = await self._key_service.bill(message["key"], message["first"])
        except StoreError as error:
            log.error("the usage of a key cannot be read: %s", error)
            account = None
        self._answer(message["process"], {"number": message["number"], "account": account})

    async def _take_over(self) -> None:
        """Lead the cluster: go on from what whoever led before has told."""
        read = self._store.read(lambda s: announcements.told(s, self._notifies_as))
        self._notifier.take_over(await read)

    async def _keep_notified(self, levels: Mapping[Topic, str]) -> None:
        now, told_as = time.time(), self._notifies_as
        await self._store.decide(lambda s: announcements.keep_told(s, told_as, levels, now))

    async def _sweep_sessions(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            self._sessions.sweep()

    def _worker_left(self, process: str) -> None:
        self._totals.add(RESTARTS.name, ("worker",))
        self._breakers.left(process)
        self._ledger.left(process)
        self._sessions.left(process)

    # Configuration

    def _configure(self, config: Config) -> None:
        """Have the parts take these settings that take them the same way at a start and later."""
        self._breakers.configure(config.router, config.mirrors)
        self._ban_service.configure(config.limits, config.router)
        self._notifier.configure(config.notify, config.mirrors, notification_style(config))
        self._monitor.history.zone = config.dashboard.timezone
        for sentence in cautions(config):
            log.warning("%s", sentence)

    def _apply(self, new: Document, changes: Changes) -> None:
        """Take other settings than those of the start."""
        config = new.config
        logs.configure(config.log, "control")
        self._notices.clear()
        self._configure(config)
        self._monitor.configure(config.monitor, config.mirrors)
        self._key_service.prefix = config.keys.prefix
        self._sessions.configure(config.legacy.session_ttl, config.legacy.memory)
        self._metrics.configure([mirror.id for mirror in config.mirrors], changes.removed)
        self._channels.broadcast(self._state())

    def _count_keys(self, totals: MetricRegistry) -> None:
        self._key_service.count(totals)

    def _count_reload(self, good: bool) -> None:
        self._metrics.reloaded(good)
        self._notifier.reloaded(self._configuration.problem)

    # The supervisor

    def _tell(self, message: Message) -> None:
        try:
            self._life.send(message)
        except ChannelClosed:
            self._stop.set()

    def _on_stuck(self, lock: int, holder: int) -> None:
        self._tell({"type": "stuck", "lock": lock, "holder": holder})

    def _on_life(self, message: Message) -> None:
        if message["type"] == "ping":
            self._tell({"type": "pong"})
        elif message["type"] == "reload":
            self._tasks.job("configuration", self._reload_for_signal)

    async def _reload_for_signal(self) -> None:
        try:
            await self._configuration.reload_unasked(SIGNAL)
        finally:
            self._tell({"type": "reloaded", "problem": self._configuration.problem})


async def serve(loaded: Loaded, inherited: Inherited, listeners: dict[str, socket.socket]) -> int:
    """Open the store, run control, close the store; 1 when the store cannot be used."""
    life, started = inherited.life, loaded.started.config
    totals = MetricRegistry(FAMILIES)
    tasks = Tasks(totals, "control")
    tasks.watch(asyncio.get_running_loop())
    # a large store takes long: the supervisor hears meanwhile that this one lives
    alive = partial(acting_meanwhile, partial(life.send, {"type": "pong"}), SIGN_OF_LIFE_EVERY)
    try:
        opening = Store.open(started.store.url, tasks=tasks, memory=inherited.lists)
        store = await alive(opening)
    except StoreError as error:
        life.send({"type": "failed", "message": str(error)})
        return 1
    try:
        holding = store.hold(vantage_of(loaded), Holder.of_process(os.getppid()))
        await alive(holding)
        restored = await alive(Restored.read(store, told_as(started)))
        control = Control(loaded, inherited, store, restored, totals, tasks)
        await control.run(listeners)
    except (StoreError, MissingPart) as error:
        life.send({"type": "failed", "message": str(error)})
        return 1
    finally:
        await store.close()
        await tasks.stop()
    return 0


def vantage_of(loaded: Loaded) -> str:
    """The name of this place."""
    return vantage_name(loaded.started.config)


def main() -> int:
    """Entry point of the process; all arguments are written by the supervisor."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m router.control.control")
    for name in ("life", "document", "table", "lists", "totals", "workers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--feeds", required=True)
    for name in ("dashboard", "admin", "socket"):
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args()
    sys.setswitchinterval(THREADS_TAKE_TURNS_AFTER)
    loaded = Loaded.handed(read_document(args.document))
    logs.configure(loaded.current.config.log, "control")
    feeds = [Channel.from_fd(int(fd)) for fd in args.feeds.split(",")]
    listeners = {
        name: socket.socket(fileno=fd)
        for name in ("dashboard", "admin", "socket")
        if (fd := getattr(args, name)) is not None
    }
    table = Table(args.table, args.workers, args.workers + 1)
    try:
        life, lists = Channel.from_fd(args.life), LastLists(args.lists)
        inherited = Inherited(feeds, life, table, lists, KeptTotals(LastLists(args.totals)))
        return asyncio.run(serve(loaded, inherited, listeners))
    except Exception:  # not to stderr by itself, which would show what the exception says
        log.critical("control ends", exc_info=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
