"""Messages between processes: whole, in order, bounded, and robust against deaths in between."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from monitor import feed
from monitor.feed import PACKET, Channel, ChannelClosed, Message, channel_pair
from tests.support.wait import wait_until_async

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
    monkeypatch.setattr(feed, "MAX_QUEUED", 4 * PACKET)
    message = {"text": "x" * PACKET}
    accepted = [pair[0].send(message) for _ in range(20)]
    assert accepted[0]
    assert not accepted[-1]
    count = accepted.count(True)
    assert drained(*pair, count) == [message] * count
    assert pair[0].send(message)


def test_what_was_sent_before_the_end_is_received_before_it_is_told(pair: Pair):
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
    end = Channel.from_fd(socket.socket(fileno=pair[0].fileno()).detach())
    end.send({"n": 1})
    assert pair[1].receive() == [{"n": 1}]
    end._sock.detach()
