"""However the same bytes are cut into reads, the readers say the same; what is written is read back
as it was.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from router.admission.credentials import credentials
from router.upstream.request_writer import fields_with_key, render_head
from router.wire.request import Refusal
from router.wire.response import BadResponse
from tests.cases.hostile_responses import MODES
from tests.cases.malformed_requests import GROUPS
from tests.testkit.reference_readers import Requests, Responses, read_strictly

CASES = [case for cases in GROUPS.values() for case in cases if len(case.data) < 2000]
ANSWERS = [mode.answer for mode in MODES if len(mode.answer) < 2000]
CUTS = st.lists(st.floats(0, 1), max_size=8)
TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(str.encode)


def _pieces(data: bytes, cuts: list[float]) -> list[bytes]:
    places = sorted({int(cut * len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def _requests(pieces: list[bytes]) -> tuple[list[tuple[str, object]], bool]:
    requests = Requests()
    try:
        requests.feed(*pieces)
    except Refusal:
        return requests.calls, True
    return requests.calls, False


def _responses(pieces: list[bytes]) -> tuple[object, ...]:
    responses = Responses()
    try:
        for piece in pieces:
            if responses.reader.ended or responses.reader.tunnel is not None:
                break  # what comes now was not asked for
            responses.feed(piece)
    except BadResponse:
        return ("bad",)
    return responses.heads, responses.body, responses.reader.ended


@settings(max_examples=300)
@given(st.sampled_from(CASES), CUTS)
def test_requests_are_read_the_same_in_any_pieces(case: object, cuts: list[float]) -> None:
    data: bytes = case.data  # type: ignore[attr-defined]
    whole, refused = _requests([data])
    calls, refused_too = _requests(_pieces(data, cuts))
    assert refused == refused_too
    assert calls == whole or (refused and calls == whole[: len(calls)])


@settings(max_examples=200)
@given(st.sampled_from(CASES))
def test_requests_are_read_the_same_byte_by_byte(case: object) -> None:
    data: bytes = case.data  # type: ignore[attr-defined]
    assert _requests([data])[1] == _requests([bytes([byte]) for byte in data])[1]


@settings(max_examples=300)
@given(st.sampled_from(ANSWERS), CUTS)
def test_responses_are_read_the_same_in_any_pieces(answer: bytes, cuts: list[float]) -> None:
    assert _responses(_pieces(answer, cuts)) == _responses([answer])


@given(
    st.lists(st.tuples(TOKENS.map(lambda token: b"X-" + token), TEXTS), max_size=10),
    st.text("abc/-._~", max_size=20).filter(lambda text: "/." not in f"/{text}"),
    st.binary(max_size=50),
)
def test_a_request_written_for_a_mirror_is_read_back_unchanged(
    fields: list[tuple[bytes, bytes]], path: str, body: bytes
) -> None:
    head = [b"POST /v1/" + path.encode() + b" HTTP/1.1", b"Host: a", b"Authorization: Bearer b"]
    lines = head + [b"%b: %b" % field for field in fields] + [b"Content-Length: %d" % len(body)]
    requests = Requests()
    requests.feed(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    ours = fields_with_key(requests.head, credentials(requests.head.look, "mg-"), b"")
    target = requests.head.target
    out = render_head(requests.head, target, b"", b"mirror.test", ours, len(body))
    (request,), rest = read_strictly(out + body)
    assert (request.target, request.body, rest) == (b"/v1/" + path.encode(), body, b"")
    assert [(n.lower(), v) for n, v in fields] == [
        field for field in request.fields if field[0].startswith(b"x-")
    ]
