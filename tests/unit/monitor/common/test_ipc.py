"""Messages between processes: whole, in order, bounded, and robust against deaths in between."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from monitor.common import ipc
from monitor.common.ipc import PACKET, Channel, ChannelClosed, Message, channel_pair
from tests.testkit.wait import wait_until_async

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = channel_pair()
    channels = Channel(ends[0]), Channel(ends[1])
    yield channels
    for channel in channels:
        channel.close()


def drained(sender: Channel, receiver: Channel, count: int) -> list[Message]:
    """Receive and flush in turn until so many messages are there."""
    messages: list[Message] = []
    for _ in range(10_000):
        messages += receiver.receive()
        if len(messages) >= count:
            return messages
        sender.flush()
    raise AssertionError(f"only {len(messages)} messages came")


def test_messages_come_whole_and_in_order(pair: Pair):
    sent: list[Message] = [{"n": n, "text": "é" * n} for n in range(20)]
    for message in sent:
        assert pair[0].send(message)
    assert pair[1].receive() == sent
    assert pair[1].receive() == []


@pytest.mark.parametrize("size", [PACKET - 20, PACKET, PACKET + 1, 3 * PACKET, 40 * PACKET])
def test_a_message_of_any_size_comes_whole(pair: Pair, size: int):
    message = {"text": "x" * size}
    pair[0].send(message)
    assert drained(*pair, 1) == [message]
    assert repr(pair[0]).endswith("0 bytes queued>")


def test_the_rest_of_a_message_whose_beginning_a_predecessor_read_is_forgotten():
    ours, theirs = channel_pair()
    sender = Channel(ours)
    sender.send({"text": "x" * (2 * PACKET)})
    theirs.recv(PACKET + 1)
    successor = Channel(theirs)
    sender.send({"n": 2})
    assert drained(sender, successor, 1) == [{"n": 2}]
    sender.close()
    successor.close()


def test_a_message_whose_sender_died_while_sending_is_forgotten():
    ours, theirs = channel_pair()
    receiver = Channel(theirs)
    ours.send(b"\x01" + b'{"half":')
    assert receiver.receive() == []
    successor = Channel(ours)
    successor.send({"n": 2})
    assert receiver.receive() == [{"n": 2}]
    successor.close()
    receiver.close()


def test_a_receiver_that_does_not_read_costs_a_bounded_queue(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ipc, "MAX_QUEUED", 4 * PACKET)
    message = {"text": "x" * PACKET}
    accepted = [pair[0].send(message) for _ in range(20)]
    assert accepted[0]
    assert not accepted[-1]
    count = accepted.count(True)
    assert drained(*pair, count) == [message] * count
    assert pair[0].send(message)


def test_messages_sent_before_the_end_are_received_before_it_is_reported(pair: Pair):
    pair[0].send({"n": 1})
    pair[0].close()
    assert pair[1].receive() == [{"n": 1}]
    with pytest.raises(ChannelClosed):
        pair[1].receive()
    with pytest.raises(ChannelClosed):
        pair[1].send({"n": 2})


async def test_an_event_loop_hears_messages_writes_the_rest_and_is_told_the_end(pair: Pair):
    heard: list[Message] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    pair[0].attach(loop, heard.append)
    pair[1].attach(loop, heard.append, ended.set)
    message = {"text": "x" * (30 * PACKET)}
    pair[0].send(message)
    await wait_until_async(lambda: heard == [message])
    pair[0].close()
    await asyncio.wait_for(ended.wait(), 5)


def test_an_inherited_descriptor_is_an_end(pair: Pair):
    end = Channel.from_fd(os.dup(pair[0].fileno()))
    end.send({"n": 1})
    assert pair[1].receive() == [{"n": 1}]
    end.close()


Contexts = list[dict[str, Any]]


@pytest.fixture
async def reported() -> AsyncIterator[Contexts]:
    """Reports that reach the exception handler of the event loop."""
    loop, heard = asyncio.get_running_loop(), Contexts()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    yield heard
    loop.set_exception_handler(None)


async def test_a_handler_that_fails_on_one_message_gets_those_behind_it(
    pair: Pair, reported: Contexts
):
    heard: list[int] = []

    def handle(message: Message) -> None:
        heard.append(message["n"])
        if message["n"] == 0:
            raise RuntimeError("a fault")

    for n in range(3):
        pair[1].send({"type": "news", "n": n})
    pair[0].attach(asyncio.get_running_loop(), handle)
    await wait_until_async(lambda: heard == [0, 1, 2])
    (context,) = reported
    assert context["message"] == "A message of type news was not handled"
    assert isinstance(context["exception"], RuntimeError)


async def test_the_last_messages_are_handled_each_for_itself(pair: Pair, reported: Contexts):
    heard: list[int] = []

    def handle(message: Message) -> None:
        heard.append(message["n"])
        raise RuntimeError("a fault")

    pair[0].attach(asyncio.get_running_loop(), handle)
    for n in range(3):
        pair[1].send({"n": n})
    pair[0].finish()
    assert (heard, len(reported)) == ([0, 1, 2], 3)


@pytest.mark.parametrize(
    "packet",
    [b"\x03{", b"\x03[1]", b"\x03" + b"[" * 50_000, b"\x03\xff", b"\x03", b"\x03" + b"x" * 70_000],
    ids=["cut", "list", "deep", "no text", "empty", "longer than a packet"],
)
async def test_a_malformed_message_is_reported_and_the_next_one_is_heard(
    packet: bytes, reported: Contexts
):
    ours, theirs = channel_pair()
    sender, receiver, heard = Channel(ours), Channel(theirs), list[Message]()
    receiver.attach(asyncio.get_running_loop(), heard.append, lambda: heard.append({"end": 1}))
    ours.send(packet)
    sender.send({"n": 2})
    await wait_until_async(lambda: heard)
    assert heard == [{"n": 2}]
    assert [c["message"].partition(" of ")[0] for c in reported] == ["A malformed message"]
    sender.close()
    receiver.close()


async def test_a_message_that_never_ends_costs_bounded_memory_and_no_other_message(
    reported: Contexts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ipc, "MAX_QUEUED", 4 * PACKET)
    ours, theirs = channel_pair()
    sender, receiver, heard = Channel(ours), Channel(theirs), list[Message]()
    receiver.attach(asyncio.get_running_loop(), heard.append)
    ours.setblocking(False)
    for number in range(20):
        ours.send((b"\x01" if number == 0 else b"\x00") + b"x" * PACKET)
        assert receiver.receive() == []
        assert len(reported) == (number >= 4), "it is dropped as soon as it is too long, once"
    sender.send({"n": 2})
    await wait_until_async(lambda: heard)
    assert heard == [{"n": 2}]
    assert [c["message"] for c in reported] == ["A message of more than 240000 bytes was dropped"]
    sender.close()
    receiver.close()


async def test_an_end_that_is_noticed_while_sending_is_told_once(monkeypatch: pytest.MonkeyPatch):
    ours, theirs = channel_pair()
    sender, peer, ended = Channel(ours), Channel(theirs), list[int]()
    sender.attach(asyncio.get_running_loop(), lambda message: None, lambda: ended.append(1))
    for _ in range(200):  # more than any socket's buffer takes
        assert sender.send({"text": "x" * PACKET})
    asyncio.get_running_loop().remove_reader(sender.fileno())  # only sending can notice it
    peer.close()
    await wait_until_async(lambda: ended)
    assert ended == [1]
    sender.close()
