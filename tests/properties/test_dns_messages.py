"""Whatever comes back to a question: it is a bounded reply, or it is none."""

import dns.message
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.connect import MAX_ADDRESSES, as_address
from monitor.probes.dns_messages import NotAReply, Question, failure_in

NAMES = st.sampled_from(["mirror.test", "a.test", "b.test", "c.test", "MIRROR.test"])
RECORDS = st.lists(
    st.one_of(
        st.tuples(NAMES, st.just("CNAME"), NAMES),
        st.tuples(NAMES, st.just("A"), st.integers(0, 2**32 - 1)),
    ),
    max_size=40,
)


def read(question: Question, wire: bytes) -> None:
    """The result of `reply` for these bytes is within its bounds."""
    try:
        reply, _ = question.reply(wire, 0.1)
    except NotAReply:
        return
    assert len(reply.addresses) <= MAX_ADDRESSES
    assert len(reply.chain) <= 16
    assert all(as_address(address) is not None for address in reply.addresses)
    assert (failure_in(reply) is None) == (reply.rcode == "NOERROR" and bool(reply.addresses))


def answer(question: Question, records: list[tuple[str, str, object]]) -> bytes:
    message = dns.message.make_response(question.query)
    for owner, rtype, value in records:
        shown = f"{value}." if rtype == "CNAME" else str(as_address_of(value))
        message.answer.append(dns.rrset.from_text(f"{owner}.", 60, "IN", rtype, shown))
    return message.to_wire()


def as_address_of(number: object) -> str:
    assert isinstance(number, int)
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


@given(st.binary(max_size=600))
def test_any_bytes_are_a_reply_or_none(data: bytes) -> None:
    question = Question.about("mirror.test", "A")
    read(question, data)
    read(question, question.wire[:2] + b"\x81\x80" + data)
    read(question, question.wire[:2] + b"\x81\x80" + question.wire[4:] + data)


@given(RECORDS)
def test_any_records_are_read_within_bounds(records: list[tuple[str, str, object]]) -> None:
    question = Question.about("mirror.test", "A")
    read(question, answer(question, records))


@given(RECORDS, st.data())
def test_a_reply_that_was_damaged_on_the_way_is_read_within_bounds(
    records: list[tuple[str, str, object]], data: st.DataObject
) -> None:
    question = Question.about("mirror.test", "A")
    wire = bytearray(answer(question, records))
    for _ in range(data.draw(st.integers(1, 8))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    read(question, bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=16, unique=True))
def test_the_addresses_of_a_good_reply_are_all_there_in_order(numbers: list[int]) -> None:
    question = Question.about("mirror.test", "A")
    wire = answer(question, [("mirror.test", "A", number) for number in numbers])
    reply, truncated = question.reply(wire, 0.1)
    assert list(reply.addresses) == list(map(as_address_of, numbers))
    assert not truncated


@given(st.integers(0, 65535))
def test_only_our_own_id_is_answered(message_id: int) -> None:
    question = Question.about("mirror.test", "A")
    wire = answer(question, [("mirror.test", "A", 1)])
    forged = message_id.to_bytes(2, "big") + wire[2:]
    ours = message_id == question.query.id
    try:
        question.reply(forged, 0.1)
    except NotAReply:
        assert not ours
    else:
        assert ours
