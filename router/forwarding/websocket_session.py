"""A WebSocket that is asked with a mirror's key: its messages are judged before they pass.

What passes is passed as it came, a whole message at a time. When something may not pass, both sides
are notified in their own protocol: the client by an error event and a close frame, the mirror by a
close frame.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from router.admission.capacity import Share
from router.metering.websocket_meter import WebSocketMeter
from router.upstream.key_leaks import QUOTED, KeyForms
from router.wire.error_response import Problem
from router.wire.websocket import (
    CLOSE,
    GOING_AWAY,
    NOT_TEXT,
    OVERLOADED,
    POLICY,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    UNSUPPORTED,
    BadFrame,
    FrameReader,
    Message,
    Opcode,
    close_frame,
    frame,
)

MOST_FROM_MIRROR = 64 << 20
"""Bytes of one message of a mirror: ten images in base64, of some 4 MiB each, have less."""
_CLIENTS_FAULT = frozenset((PROTOCOL_ERROR, UNSUPPORTED, NOT_TEXT, POLICY, TOO_BIG))
"""Codes with which a mirror closes because of what it was sent (RFC 6455 section 7.4.1): a client
must not get an answer for nothing by provoking that."""
_STOPS = Problem(503, "no_mirror_available", "This WebSocket is closed here. Open it again.")
_NO_ROOM = BadFrame(OVERLOADED, "there is no room for so large a message now")

End = Callable[[bytes, bytes, bytes, str], None]
"""Ends the tunnel: what the client and the mirror are still to be sent, the close frame for the
mirror unless it is read on, and the outcome."""


class _Direction:
    """The filter of one direction."""

    def __init__(
        self, session: Session, reader: FrameReader, judge: Callable[[Message], bool | None]
    ) -> None:
        """`judge`: whether a message passes; None: the session is over."""
        self._session = session
        self._reader = reader
        self._judge = judge
        self._counted = 0
        """Bytes that are counted as kept."""
        self._closed = False
        """True if a close frame has passed: nothing may follow."""

    def feed(self, data: bytes) -> bytes:
        passed = bytearray()
        session = self._session
        if session.over or self._closed:
            return b""
        try:
            for message in self._reader.feed(data):
                if self._closed:
                    break
                session.passing = passed
                verdict = self._judge(message)
                if verdict is None:
                    return b""
                if not verdict:
                    continue
                passed += message.raw
                self._closed = message.opcode == CLOSE
            if not self._count(self._reader.held):
                raise _NO_ROOM
        except BadFrame as error:
            session.passing = passed
            session.broken(self, error)
            return b""
        return bytes(passed)

    def finish(self) -> bytes:
        self._session.finished(self)
        return b""

    def _count(self, held: int) -> bool:
        more, self._counted = held - self._counted, held
        return self._session.share.change(more)

    def closes(self, data: bytes) -> bool:
        """True if what came has a close frame, or nothing can be read any more."""
        try:
            found = any(message.opcode == CLOSE for message in self._reader.feed(data))
        except BadFrame:
            return True
        return not self._count(self._reader.held) or found

    def messages(self, data: bytes) -> list[Message]:
        """Return the messages in these bytes; raises `BadFrame`, also where there is no room for
        them."""
        found = list(self._reader.feed(data))
        if not self._count(self._reader.held):
            raise _NO_ROOM
        return found

    def drop(self) -> None:
        """Nothing is kept any more."""
        self._count(0)


class KeyFilter:
    """Cuts a tunnel in which a mirror quotes the key that it was lent; for unknown dialects."""

    def __init__(self, forms: KeyForms, cut: Callable[[str], None]) -> None:
        self._forms = forms
        self._cut = cut
        self._reader = FrameReader(masked=False, most=MOST_FROM_MIRROR)

    def feed(self, data: bytes) -> bytes:
        """Take what came; returns the messages that may pass."""
        passing = bytearray()
        try:
            for message in self._reader.feed(data):
                if self._forms.are_in(message.payload):
                    self._cut("interrupted")
                    return b""
                passing += message.raw
        except BadFrame:
            self._cut("interrupted")
            return b""
        return bytes(passing)

    def finish(self) -> bytes:
        """Nothing is kept back but what is no whole message."""
        return b""


class Session:
    """Judges both directions."""

    def __init__(
        self,
        dialogue: WebSocketMeter,
        share: Share,
        forms: KeyForms | None,
        most: int,
        end: End,
        tell: Callable[[bytes], bool],
    ) -> None:
        """`forms`: of the key that was lent, which must not reach the client; `most`: bytes of one
        message of the client; `tell` writes to the client, unless it takes nothing."""
        self.share = share
        self.over = False
        """True if nothing passes any more."""
        self.passing = bytearray()
        """What of the read at hand has passed already."""
        self._dialogue = dialogue
        self._forms = forms
        self._end = end
        self._tell = tell
        self._drains = False
        self._handed_over = False
        self._pinged = False
        """True if the mirror has sent a ping since the client said anything."""
        self.client_closed = False
        """True if the client has sent a close frame."""
        self._mirror_closed = False
        """True if the mirror has: it says nothing more, and waits for the client's answer."""
        reader = FrameReader(masked=True, most=most)
        self.from_client = _Direction(self, reader, self._client_says)
        reader = FrameReader(masked=False, most=MOST_FROM_MIRROR)
        self.from_mirror = _Direction(self, reader, self._mirror_says)

    def _client_says(self, message: Message) -> bool | None:
        self._pinged = False
        if message.opcode >= CLOSE:
            if message.opcode == CLOSE:
                self.client_closed = True
                self._dialogue.client_ended()
                if self.reads_on:  # the mirror would end them: we answer in its place
                    self.over = True
                    passed, echo = bytes(self.passing), frame(CLOSE, message.payload[:2])
                    self._end(echo, passed, _mirror_close(), "success")
                    return None
            return True
        refused = self._dialogue.asks(message.payload, message.opcode == TEXT)
        if refused is None:
            return True
        if not refused.close and self._tell(frame(TEXT, self._dialogue.error(refused.problem))):
            return False
        self._refuse(refused.close or POLICY, refused.problem, bytes(self.passing), b"")
        return None

    def _mirror_says(self, message: Message) -> bool | None:
        if self._forms is not None and self._forms.are_in(message.payload):
            self._refuse(POLICY, QUOTED, b"", bytes(self.passing), outcome="interrupted")
            return None
        if message.opcode == CLOSE:
            self._mirror_closed = True
            if int.from_bytes(message.payload[:2]) in _CLIENTS_FAULT:
                self._dialogue.client_ended()
            self._dialogue.mirror_ended()
        elif message.opcode == Opcode.ping:
            self._pinged = True
        elif message.opcode == TEXT:
            self._dialogue.tells(message.payload)
            if self._drains and self._dialogue.turns_known and not self._dialogue.busy:
                passed = bytes(self.passing) + message.raw
                self._refuse(GOING_AWAY, _STOPS, b"", passed, outcome="success")
                return None
        return True

    def broken(self, direction: _Direction, error: BadFrame) -> None:
        """End the session: one side sent bytes that are not WebSocket, or too many."""
        passed = bytes(self.passing)
        if direction is self.from_client:
            problem = Problem(400, "malformed_request", f"{error}.".capitalize())
            self._refuse(error.code, problem, passed, b"")
        else:
            problem = Problem(502, "upstream_error", f"The mirror's WebSocket: {error}.")
            self._refuse(error.code, problem, b"", passed, outcome="interrupted")

    def finished(self, direction: object) -> None:
        """The side that this filter reads has ended."""
        if direction is self.from_mirror and not self._pinged:
            self._dialogue.mirror_ended()
        else:  # a mirror gives up a client that does not answer its pings
            self._dialogue.client_ended()

    def revoke(self) -> None:
        """End it if its key may not be used any more."""
        problem = self._dialogue.begin()
        if problem is not None:
            self._refuse(POLICY, problem, b"", b"")

    def leave(self) -> None:
        """End it because we stop, or its mirror has been removed."""
        self._refuse(GOING_AWAY, _STOPS, b"", b"", outcome="success")

    def drain(self) -> None:
        """End it as soon as no answer is awaited that is known of."""
        self._drains = True
        if self._dialogue.turns_known and not self._dialogue.busy:
            self.leave()

    def _refuse(
        self,
        code: int,
        problem: Problem,
        to_mirror: bytes,
        to_client: bytes,
        outcome: str = "client_error",
    ) -> None:
        if self.over:
            return
        self.over = True
        if outcome == "client_error":
            self._dialogue.client_ended()
        else:
            self._dialogue.mirror_ended()
        event = frame(TEXT, self._dialogue.error(problem))
        to_client += event + close_frame(code, problem.message)
        self._end(to_client, to_mirror, _mirror_close(), outcome)

    def closes(self, data: bytes) -> bool:
        """True if the client answers our close frame with what it sends."""
        return self.from_client.closes(data)

    def settle(self, outcome: str) -> None:
        """The tunnel is gone."""
        self.over = True
        self.from_client.drop()
        if not self._handed_over:
            self._dialogue.settle(outcome)
            self.from_mirror.drop()

    # After the client has left

    @property
    def key(self) -> str:
        """The id of the key that is charged."""
        return self._dialogue.named

    @property
    def reads_on(self) -> bool:
        """True if the client has left answers of which the mirror may still tell the usage."""
        return self._dialogue.reads_on and not self._mirror_closed

    def client_ended(self) -> None:
        """The client has left, or is given up."""
        self._dialogue.client_ended()

    def hand_over(self) -> None:
        """From here on another owner reads the mirror, and settles."""
        self.over = self._handed_over = True

    def read_on(self, data: bytes) -> tuple[bytes, bool]:
        """Read what the mirror still says; returns pongs for it, and whether more is awaited."""
        pongs = bytearray()
        try:
            for message in self.from_mirror.messages(data):
                if message.opcode == CLOSE:
                    return bytes(pongs), False
                if message.opcode == Opcode.ping:
                    pongs += frame(Opcode.pong, message.payload, secrets.token_bytes(4))
                elif message.opcode == TEXT:
                    self._dialogue.tells(message.payload)
        except BadFrame:
            return bytes(pongs), False
        return bytes(pongs), self._dialogue.busy

    def settle_abandoned(self) -> bool:
        """Charge what was read on, and estimate the rest; whether all had ended."""
        whole = not self._dialogue.busy
        self._dialogue.settle("client_abort")
        self.from_mirror.drop()
        return whole


def _mirror_close() -> bytes:
    return close_frame(GOING_AWAY, "", secrets.token_bytes(4))
