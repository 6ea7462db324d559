"""Control's side of the feeds: the whole state to a worker that says hello, news to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from monitor.common.ipc import Channel, ChannelClosed, Message
from monitor.common.metric_registry import MergedMetrics

log = logging.getLogger("control")


@dataclass(slots=True)
class Slot:
    """One worker's place, and who fills it now."""

    number: int
    channel: Channel
    process: str = ""
    pid: int = 0
    form: str = ""
    """Compiled or pure, once the worker has said so."""
    met: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a worker has answered this control process with "met": the paths that fail there."""
    behind: bool = False
    """A message was dropped because the worker does not read; it is owed the whole state."""


class WorkerChannels:
    """The channels to all workers."""

    def __init__(
        self,
        channels: Sequence[Channel],
        merged: MergedMetrics,
        state: Callable[[], Sequence[Message]],
        on_news: Callable[[Message], None],
        on_left: Callable[[str], None] = lambda process: None,
    ) -> None:
        """`on_left` is called when a process has ended, once another one is in its place."""
        self._slots = [Slot(number, channel) for number, channel in enumerate(channels)]
        self._merged = merged
        self._state = state
        self._on_news = on_news
        self._on_left = on_left

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen, and bring every worker up to date."""
        for slot in self._slots:
            slot.channel.attach(
                loop, partial(self._on_message, slot), partial(self._on_closed, slot)
            )
        for slot in self._slots:
            self._send_state(slot)

    def stop(self) -> None:
        """Read what is there, then listen no more."""
        for slot in self._slots:
            slot.channel.finish()

    def broadcast(self, message: Message) -> None:
        """Send to every worker; one that cannot take it gets the whole state with the next one."""
        for slot in self._slots:
            if slot.behind:
                self._send_state(slot)
            else:
                self._send(slot, message)

    def send(self, process: str, message: Message) -> None:
        """Send to one worker, if it is still there."""
        for slot in self._slots:
            if slot.process == process and self._caught_up(slot):
                self._send(slot, {**message, "to": process})

    def send_encoded(self, process: str, messages: Sequence[bytes]) -> None:
        """Send to one worker messages for any in its place; nothing more once one was dropped."""
        for slot in self._slots:
            if slot.process == process and self._caught_up(slot):
                for message in messages:
                    self._deliver(slot, partial(slot.channel.send_encoded, message))
                    if slot.behind:
                        break

    async def all_met(self, within: float) -> None:
        """Wait until every worker has sent "met", so many seconds at most: one may be gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                for slot in self._slots:
                    await slot.met.wait()

    def processes(self) -> dict[int, str]:
        """Process ids by slot; empty while nothing was heard from there."""
        return {slot.number: slot.process for slot in self._slots}

    def workers(self) -> list[dict[str, Any]]:
        """Processes by slot, for the status."""
        return [
            {
                "slot": slot.number,
                "pid": slot.pid,
                "alive": bool(slot.pid) and not slot.behind,
                "form": slot.form,
            }
            for slot in self._slots
        ]

    def _caught_up(self, slot: Slot) -> bool:
        """True if the worker has got all messages; those that are due are sent now, if possible."""
        if slot.behind:
            self._send_state(slot)
        return not slot.behind

    def _send_state(self, slot: Slot) -> None:
        for message in self._state():
            self._send(slot, message)
            if slot.behind:
                return

    def _send(self, slot: Slot, message: Message) -> None:
        self._deliver(slot, partial(slot.channel.send, message))

    def _deliver(self, slot: Slot, send: Callable[[], bool]) -> None:
        try:
            slot.behind = not send()
        except ChannelClosed:
            slot.behind = True
        if slot.behind:
            log.warning("the channel to worker %d is full or closed", slot.number)

    def _on_message(self, slot: Slot, message: Message) -> None:
        kind = message["type"]
        slot.form = message.get("form", slot.form)
        if kind == "hello":
            self._replaced_by(slot, message["process"], message["pid"])
            self._send_state(slot)
            return
        process = message.get("process", slot.process)
        if process != slot.process:  # this control is younger than the worker
            self._replaced_by(slot, process, _pid(process))
        if kind == "totals":
            self._merged.update(slot.process, message["rows"])
        else:
            self._on_news(message)
        if kind == "met":
            slot.met.set()

    def _on_closed(self, slot: Slot) -> None:
        """The supervisor holds both ends: this happens only when it is gone, or by a fault."""
        slot.behind = True
        log.error("the channel to worker %d is closed", slot.number)

    def _replaced_by(self, slot: Slot, process: str, pid: int) -> None:
        ended = self._merged.succeed(str(slot.number), process)
        for former in {*ended, slot.process} - {"", process}:
            self._on_left(former)
        slot.process, slot.pid, slot.behind = process, pid, False


def _pid(process: str) -> int:
    return int(process.split("-")[1])
