"""Receiver: waits for what is due, sends it, and tries again where that may help."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from monitor.common.metric_registry import MetricRegistry
from monitor.notify import mail, metrics
from monitor.notify.batching import Batching, Due, May
from monitor.notify.config import NotifyConfig
from monitor.notify.formats import Outcome, judge, post_of
from monitor.notify.message import Message, Style, compose, style_of, test_message
from monitor.notify.notice import Notice

log = logging.getLogger(__name__)

TIMEOUT = 15.0
"""Seconds for one attempt over HTTP."""
SPACING = 3.0
"""Seconds between two messages: DingTalk and WeCom take twenty a minute."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
GIVE_UP_AFTER = 3600.0
"""Seconds after which a message that nobody takes is given up."""
_LONGEST_ANSWER = 64 << 10
_ANSWER_WITHIN = 5.0
"""Seconds for a body behind its head: a message that was taken is not sent again for it."""

Send = Callable[[Message, NotifyConfig], Awaitable[Outcome]]


class Receiver:
    """One receiver of notices. Nobody waits for it."""

    def __init__(
        self,
        config: NotifyConfig,
        style: Style,
        send: Send,
        totals: MetricRegistry,
        *,
        name: str = "",
        may_tell: May = lambda notice: True,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """`name`: of `names_of`. What this instance `may_tell` is asked before each attempt; what
        it may not waits."""
        self.name, self.config, self.style = name or config.label, config, style
        self.sent_at: float | None = None
        """When a message was taken last, seconds since the epoch."""
        self.problem = ""
        """Why the last attempt failed; empty if it did not."""
        self._batching = Batching(config.group, config.quiet)
        self._send = send
        self._totals = totals
        self._may_tell = may_tell
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._unsent: Message | None = None
        """Taken from the batching; it outlives a crash of the task."""
        self._began, self._failures = 0.0, 0
        """When it was taken, and how often it was not delivered."""
        self._woken, self._changed = asyncio.Event(), asyncio.Event()
        self._dropped = 0

    def __repr__(self) -> str:
        return f"<Receiver {self.name}, {self.waiting} wait>"

    @property
    def waiting(self) -> int:
        """Conditions whose last change is not delivered yet."""
        return len(self._batching) + len(self._unsent.due if self._unsent else ())

    def configure(self, config: NotifyConfig, name: str, style: Style) -> None:
        """Take new settings: what waits goes by them, and what has failed is tried at once."""
        before, self.config, self.name, self.style = self.config, config, name, style
        if config == before:
            return
        if config.url != before.url:
            self.problem, self.sent_at = "", None
        self._batching.group, self._batching.quiet = config.group, config.quiet
        self.keep(lambda notice: notice.kind.value in config.on)
        self._began, self._failures = self._monotonic(), 0
        self._changed.set()
        self._woken.set()

    def keep(self, which: May) -> None:
        """Forget all that waits but these: others are not wanted, or told elsewhere."""
        self._batching.keep(which)
        if self._unsent is not None:
            self._compose([due for due in self._unsent.due if which(due.notice)])

    def removed(self) -> None:
        """There is no such receiver any more: what waits for it is dropped."""
        if self.waiting:
            log.warning("%s: removed; notifications not delivered: %d", self.name, self.waiting)
            self._count("dropped", self.waiting)

    def look_again(self) -> None:
        """Tell what waits, if it may be told now."""
        self._woken.set()

    def tell(self, notice: Notice) -> None:
        """Take a notice, if it is of a kind that is wanted here."""
        if notice.kind.value in self.config.on:
            self._batching.add(notice, self._monotonic())
            self._count("dropped", self._batching.dropped - self._dropped)
            self._dropped = self._batching.dropped
            self._woken.set()

    def owes(self, topic: tuple[str, str]) -> bool:
        """True while a change of this condition waits or is being sent."""
        sending = self._unsent.due if self._unsent else ()
        return topic in self._batching or any(each.notice.topic == topic for each in sending)

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        while True:
            self._put_back()
            if self._unsent is None:
                self._began, self._failures = self._monotonic(), 0
                self._compose(self._batching.take(self._began, self._may_tell))
            if self._unsent is None:
                await self._until_due()
            else:
                await self._pause_for(await self._attempt(self._unsent))

    def _compose(self, due: list[Due]) -> None:
        self._unsent = compose(due, self.style, self._clock()) if due else None

    def _put_back(self) -> None:
        """Let wait what may not be told any more."""
        due = self._unsent.due if self._unsent else ()
        held = [each for each in due if not self._may_tell(each.notice)]
        if held:
            for each in held:
                self._batching.put_back(each, self._monotonic())
            self._compose([each for each in due if each not in held])

    async def _until_due(self) -> None:
        self._woken.clear()
        due_at = self._batching.due_at(self._may_tell)
        left = None if due_at is None else max(0.05, due_at - self._monotonic())
        try:
            await asyncio.wait_for(self._woken.wait(), left)
        except TimeoutError:
            pass

    async def _attempt(self, message: Message) -> float:
        """Send it once; the seconds until the next attempt, on this message or another."""
        config = self.config
        self._changed.clear()
        outcome = await self._send(message, config)
        if not outcome.problem:
            self._unsent = None
            self._taken()
            return SPACING
        self._count("failed")
        if config != self.config:  # others may do
            return SPACING
        self._failures += 1
        if not self.problem:
            log.warning("%s: not delivered: %s", self.name, outcome.problem)
        self.problem = outcome.problem
        pause = outcome.pause if outcome.pause is not None else self._pause(self._failures)
        over = self._monotonic() + pause - self._began > GIVE_UP_AFTER
        if outcome.permanent or over:
            log.error("%s: given up: %s", self.name, message.text)
            self._count("dropped")
            self._unsent = None
            return SPACING
        return pause

    async def _pause_for(self, seconds: float) -> None:
        """Wait, at most until there are other settings."""
        ends = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(self._changed.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ends:
                each.cancel()

    def _taken(self) -> None:
        if self.problem:
            log.info("%s: messages are delivered again", self.name)
        self.problem, self.sent_at = "", self._clock()
        self._count("sent")

    def _pause(self, attempts: int) -> float:
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 3.0 ** min(attempts - 1, 8))
        return longest * self._rng.uniform(0.7, 1.0)

    def _count(self, result: str, number: int = 1) -> None:
        if number:
            self._totals.add(metrics.NOTIFICATIONS.name, (self.config.format, result), number)


class Transport:
    """Sends messages over HTTP and SMTP; `trust`: authorities of servers' certificates."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self._trust = trust

    async def send(self, message: Message, config: NotifyConfig) -> Outcome:
        """Make one attempt. Never raises but when it is cancelled."""
        try:
            async with asyncio.timeout(TIMEOUT * (4 if config.format == "email" else 1)):
                if self._trust is None:  # reading the authorities costs a start 20 ms
                    self._trust = await asyncio.to_thread(ssl.create_default_context)
                if config.format == "email":
                    return await asyncio.to_thread(mail.send, message, config, self._trust)
                return await self._post(message, config, self._trust)
        except TimeoutError:
            return Outcome("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(_in_words(error, config))

    async def _post(self, message: Message, config: NotifyConfig, trust: ssl.SSLContext) -> Outcome:
        post = post_of(message, config, time.time())
        # a session of its own: messages are rare, and nothing is left open between them
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                post.url,
                data=post.body,
                headers=dict(post.fields),
                ssl=trust,
                proxy=config.proxy or None,
                allow_redirects=False,  # the token in the URL is for this host only
            ) as answer,
        ):
            body = await _beginning(answer.content)
            return judge(config, answer.status, answer.headers.get("Retry-After", ""), body)


def send_tests(receivers: Sequence[NotifyConfig], style: Style) -> list[Outcome]:
    """Send each receiver a message that says that it is a test, side by side. Blocks."""

    async def send_all() -> list[Outcome]:
        transport, now = Transport(), time.time()
        messages = ((test_message(style_of(each, style), now), each) for each in receivers)
        return await asyncio.gather(*(transport.send(message, to) for message, to in messages))

    return asyncio.run(send_all())


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """The body, or as much of it as is worth reading and comes in time."""
    body = bytearray()
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_ANSWER_WITHIN):
            while len(body) < _LONGEST_ANSWER and (part := await content.readany()):
                body += part
    return bytes(body[:_LONGEST_ANSWER])


def _in_words(error: Exception, config: NotifyConfig) -> str:
    """An exception without the token that the URL has, and without objects of the library."""
    cause: Exception = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    return config.without_secrets(f"{type(cause).__name__}: {cause}")[:200]
