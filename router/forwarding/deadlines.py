"""Deadlines of one exchange: the next thing that must happen, on the worker's timer wheel.

One deadline serves all: the limit on the step that is under way, the limit on everything, and the
next look at a mirror that is silent, when its client may be due a comment.
"""

from __future__ import annotations

from collections.abc import Callable

from router.balancing.load import SOFT_LEAST
from router.balancing.timeouts import Patience, time_left
from router.wire.timer_wheel import NEVER, TimerWheel

STALLED_FOR = 10.0
"""Seconds after which a client that takes nothing is the cause when its mirror breaks off: servers
wait 30 to 60 s for a reader (nginx's `send_timeout`), some less."""
_LOOK_AGAIN = 1.0
"""Seconds after which a mirror that takes long is looked at again."""


class Deadlines:
    """Times of one exchange, in seconds; `deadline` is what the wheel looks at."""

    __slots__ = (
        "_before_stall",
        "_clock",
        "_comment_after",
        "_ends_at",
        "_ends_with_caller",
        "_extends",
        "_idle",
        "_limit",
        "_look_at",
        "_patience",
        "_quiet_since",
        "_stalled",
        "_stalls_since",
        "_wheel",
        "comments",
        "deadline",
        "sent_at",
    )

    def __init__(
        self, wheel: TimerWheel, clock: Callable[[], float], now: float, idle: float
    ) -> None:
        """`now` is on the worker's `clock`; `idle`: a silence that ends it before it has a policy.

        Nothing is due before `begin`.
        """
        self._wheel = wheel
        self._clock = clock
        self._idle = idle
        self.sent_at = now
        """When the mirror had the whole request, on the worker's clock."""
        self._quiet_since = wheel.now
        self._patience: Patience | None = None
        self._extends = False
        """True if it is the mirror's silence that is limited, as far as that is learned."""
        self._comment_after = NEVER
        self.comments = False
        """True if a silent mirror's client gets comments."""
        self._stalls_since = NEVER
        """When the client began to take no more."""
        self._stalled = False
        """True if it took no more for long, but does now."""
        self._before_stall = (NEVER, False)
        """The limit that held before, and whether it extends."""
        self._ends_with_caller = False
        """True if the limit on everything is the caller's own."""
        self.deadline = self._limit = self._ends_at = self._look_at = NEVER

    def begin(self, total: float) -> None:
        """Start the limit on everything."""
        self.deadline = self._limit = self._ends_at = self._wheel.now + total

    def follow(self, patience: Patience, comment_after: float) -> None:
        """Apply the limits of a policy. `comment_after`: seconds of silence after which the client
        gets a comment."""
        self._patience, self._idle = patience, patience.idle
        ends_at = self._wheel.now + patience.total
        if ends_at < self._ends_at:
            self.deadline = self._limit = self._ends_at = ends_at
            self._ends_with_caller = patience.total == patience.asked
        self._comment_after, self.comments = comment_after, comment_after < NEVER

    def end_within(self, seconds: float) -> None:
        """Lower the limit on everything."""
        ends_at = self._wheel.now + seconds
        if ends_at < self._ends_at:
            self._ends_at, self._ends_with_caller = ends_at, False
        self._limit = min(self._limit, self._ends_at)
        self.deadline = min(self.deadline, self._limit)

    def stop(self) -> None:
        """Expect nothing more."""
        self.deadline = self._limit = self._ends_at = self._look_at = NEVER

    # Steps of the exchange

    def wait(self, seconds: float) -> None:
        """Set the time within which the next thing must happen."""
        limit, ends_at, look_at = self._wheel.now + seconds, self._ends_at, self._look_at
        self._limit = limit = limit if limit < ends_at else ends_at  # min() costs three times that
        self._extends = False
        self.deadline = limit if limit < look_at else look_at

    def request_complete(self) -> None:
        """The client has sent all, and is silent from now on."""
        self._quiet_since = self._wheel.now

    def await_response(self, now: float) -> None:
        """The mirror has the whole request; its response head must come."""
        assert self._patience is not None
        look_at, comment_at = self._wheel.now + SOFT_LEAST, self._quiet_since + self._comment_after
        self._look_at = look_at if look_at < comment_at else comment_at
        self.sent_at = now
        self.wait(self._patience.head)
        self._extends = True

    def head_came(self) -> None:
        """The response head of a stream came; now content must."""
        assert self._patience is not None
        self.wait(max(self._patience.content - self.waited, 0.0))
        self._extends = True

    def heard(self) -> None:
        """A piece of the response came; the next must come in time."""
        self._look_at = self._wheel.now + self._comment_after
        self.wait(self._idle)

    # Silence

    @property
    def comment_due(self) -> bool:
        """True if the client has heard nothing for so long that it gets a comment."""
        return self._wheel.now - self._quiet_since >= self._comment_after

    def commented(self) -> None:
        """The client got a comment."""
        self._quiet_since = self._wheel.now

    def look_later(self, awaits_response: bool) -> None:
        """Schedule the next look: at the next comment, or before it at a mirror that is slow."""
        look_at = self._quiet_since + self._comment_after
        if awaits_response:
            slow_in = max(SOFT_LEAST - self.waited, _LOOK_AGAIN)
            look_at = min(look_at, self._wheel.now + slow_in)
        self._look_at = look_at
        self.deadline = min(self._limit, look_at)

    def look_after_comment(self) -> None:
        """Schedule the next look one comment's silence from now."""
        self._look_at = self._wheel.now + self._comment_after
        self.deadline = min(self._limit, self._look_at)

    # The mirror's time, and the client's

    @property
    def waited(self) -> float:
        """Seconds since the mirror had the whole request."""
        return self._clock() - self.sent_at

    @property
    def over(self) -> bool:
        """True if a limit has passed, and not only the time of the next look."""
        return self._wheel.now >= self._limit

    def extend(self, answered_at: float, heard_at: float, usual: float, *, has_head: bool) -> bool:
        """Give a mirror more time, if it may have more; False if it has had all.

        Its last signs of life, on the worker's clock: `answered_at` to any request, `heard_at` to
        this one. `usual`: the 95th percentile of what such requests take, in seconds.
        """
        patience, now = self._patience, self._clock()
        if patience is None or not self._extends or self._wheel.now >= self._ends_at:
            return False
        left = time_left(
            patience,
            has_head=has_head,
            waited=now - self.sent_at,
            silent=now - max(answered_at, heard_at, self.sent_at),
            usual=usual,
        )
        if left <= 0.0:
            return False
        self.wait(left)
        self._extends = True
        return True

    @property
    def blames_mirror(self) -> bool:
        """True if the mirror has had its time, and not only the caller's has ended."""
        patience = self._patience
        return patience is not None and patience.blames(self.waited) and not self.caller_gave_up

    @property
    def caller_gave_up(self) -> bool:
        """True if the limit that has passed is the one that the caller has set itself."""
        return self._ends_with_caller and self._wheel.now >= self._ends_at

    def client_full(self, write_stall: float) -> None:
        """The client takes no more; it must within `write_stall`."""
        self._stalls_since = self._wheel.now
        self._before_stall = self._limit, self._extends
        self.wait(write_stall)

    def client_drained(self, *, relays: bool) -> None:
        """The client takes bytes again. `relays`: it has content, and the next must come in time;
        else the limit holds that the stall has interrupted."""
        self._stalled = self.client_has_stalled
        self._stalls_since = NEVER
        if relays:
            self.wait(self._idle)
        else:
            self._limit, self._extends = self._before_stall
            self.deadline = min(self._limit, self._look_at)

    @property
    def client_stalls(self) -> bool:
        """True if the client takes no more for now."""
        return self._stalls_since < NEVER

    @property
    def client_has_stalled(self) -> bool:
        """True if the client has taken nothing for so long that a mirror may have given up."""
        return self._stalled or self._wheel.now - self._stalls_since >= STALLED_FOR
