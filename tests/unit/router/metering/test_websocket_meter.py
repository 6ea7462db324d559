"""Messages of a WebSocket with a mirror's key: permissions and charges."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from monitor.common.keys import Spent
from monitor.common.metric_registry import MetricRegistry
from router.admission.config import PriceConfig
from router.admission.key_index import IssuedKey
from router.forwarding.metrics import FAMILIES
from router.metering import metrics, websocket_meter
from router.metering.batches import UsageBatches
from router.metering.metered_request import ANONYMOUS, Metering
from router.metering.websocket_meter import WebSocketMeter, converse
from router.wire.error_response import Problem

KEY = IssuedKey("k1", 0.0, (), math.inf, None, None)
TOKENS = KEY._replace(tokens_left=1_000_000)
MONEY = KEY._replace(left=10**15)
PRICES = {"a": (PriceConfig(input=1.0, output=1.0),), "dear": (PriceConfig(output=100.0),)}
WALL = 1_700_000_000.0
PATTERNS = KEY._replace(models=("a", "b*"))


class Talking:
    """A dialogue, and its account."""

    def __init__(self, key: IssuedKey = TOKENS, target: bytes = b"/v1/responses") -> None:
        self.key: IssuedKey | Problem = key
        self.uses, self.totals = UsageBatches(), MetricRegistry(FAMILIES)
        self.metering = metering = Metering(self.uses, self.totals)
        metering.configure(PRICES, ("responses", "realtime"), ("a",), 1 << 20)
        metering.offered = ("a", "t")
        found = converse(metering, target, key, lambda: self.key, lambda: WALL)
        assert isinstance(found, WebSocketMeter), found
        self.dialogue = found

    def asks(self, event: Any, text: bool = True) -> str:
        """The code that it is refused with; "": not refused."""
        refused = self.dialogue.asks(json.dumps(event).encode(), text)
        return refused.problem.code if refused is not None else ""

    def tells(self, kind: str, **more: Any) -> None:
        self.dialogue.tells(json.dumps({"type": kind, **more}).encode())

    def done(self, tokens: int, **more: Any) -> None:
        usage = {"input_tokens": tokens, "output_tokens": 0}
        self.tells("response.completed", response={"usage": usage}, **more)

    def left(self, outcome: str = "client_abort") -> None:
        """The client goes first."""
        self.dialogue.client_ended()
        self.dialogue.mirror_ended()
        self.dialogue.settle(outcome)

    @property
    def spent(self) -> Spent:
        return self.uses.spent("k1")


def create(**more: Any) -> dict[str, Any]:
    return {"type": "response.create", "model": "a", **more}


def test_each_answer_is_charged_once_by_what_the_mirror_says():
    talk = Talking()
    for _ in range(3):
        assert talk.asks(create()) == ""
        talk.tells("response.created")
        talk.done(7)
    talk.left()
    assert talk.spent.tokens == 21
    assert not talk.dialogue.busy


@pytest.mark.parametrize("order", [1, -1])
def test_an_end_too_large_to_be_read_is_charged_by_its_use(
    order: int, monkeypatch: pytest.MonkeyPatch
):
    """Such an event is not built, which would take a second for each ten megabytes."""
    talk = Talking()
    talk.asks(create())
    talk.tells("response.created")
    usage = {"input_tokens": 3, "output_tokens": 4}
    response = {"id": "r", "tools": [{"usage": {"input_tokens": 0}}] * 110_000, "usage": usage}
    pairs = [("type", "response.completed"), ("response", response)][::order]
    monkeypatch.setattr(websocket_meter, "parsed", lambda payload: pytest.fail("it was built"))
    talk.dialogue.tells(json.dumps(dict(pairs)).encode())
    assert talk.spent.tokens == 7
    assert not talk.dialogue.busy


def test_answers_of_several_streams_are_told_apart():
    talk = Talking(MONEY._replace(models=()))
    for name, model in (("1", "a"), ("2", "dear")):
        assert talk.asks(create(model=model, stream_id=name)) == ""
        talk.tells("response.created", stream_id=name)
    usage = {"input_tokens": 0, "output_tokens": 1_000_000}
    talk.tells("response.completed", stream_id="2", response={"usage": usage})
    assert talk.spent.cost == 100 * 10**9
    talk.tells("response.completed", stream_id="1", response={"usage": usage})
    assert talk.spent.cost == 101 * 10**9


@pytest.mark.parametrize("outcome", ["success", "client_abort", "client_error", "interrupted"])
def test_an_answer_that_is_left_is_estimated_whatever_the_mirror_does_then(outcome: str):
    talk = Talking()
    talk.asks(create(input="x" * 400, store=False))
    talk.tells("response.created")
    for _ in range(10):
        talk.tells("response.output_text.delta", delta="word")
    talk.left(outcome)
    assert 110 <= talk.spent.tokens <= 130
    talk.dialogue.settle(outcome)
    assert 110 <= talk.spent.tokens <= 130


def test_responses_that_a_mirror_breaks_off_are_free():
    for outcome, first in (("interrupted", None), ("success", WebSocketMeter.mirror_ended)):
        talk = Talking()
        talk.asks(create(input="x" * 400))
        talk.tells("response.created")
        if first is not None:
            first(talk.dialogue)
        talk.dialogue.settle(outcome)
        assert talk.spent.tokens == 0


def test_an_answer_that_the_mirror_refuses_costs_nothing():
    talk = Talking()
    talk.asks(create(input="x" * 400))
    talk.tells("error", error={"code": "x"})
    assert not talk.dialogue.busy
    talk.left()
    assert talk.spent.tokens == 0


def test_an_error_about_another_message_makes_no_answer_free():
    early, late = Talking(), Talking()
    for talk, first in ((early, "error"), (late, "response.created")):
        talk.asks(create(input="x" * 400))
        second = "response.created" if first == "error" else "error"
        talk.tells(first, error={}) if first == "error" else talk.tells(first)
        talk.tells(second, error={}) if second == "error" else talk.tells(second)
        talk.tells("response.output_text.delta", delta="word" * 10)
        talk.left()
        assert talk.spent.tokens >= 100


def test_an_answer_whose_asking_was_forgotten_is_still_known():
    talk = Talking()
    talk.asks(create())
    talk.tells("error", error={})
    talk.asks(create())
    talk.tells("response.created")
    talk.tells("response.created", response={"model": "a"})
    talk.tells("response.output_text.delta", delta="word")
    talk.done(5)
    talk.done(6)
    talk.left()
    assert talk.spent.tokens == 11


def test_an_answer_without_usage_is_estimated():
    talk = Talking()
    talk.asks(create(input="x" * 400))
    talk.tells("response.completed", response={})
    assert talk.spent.tokens >= 100
    assert talk.totals.get(metrics.UNMETERED.name, ("no_usage",)) == 1


def test_a_quota_that_is_used_up_meanwhile_ends_what_may_be_asked():
    talk = Talking(TOKENS._replace(tokens_left=10))
    assert talk.asks(create()) == ""
    talk.done(10)
    assert talk.asks(create()) == "insufficient_quota"
    talk.key = Problem(401, "invalid_api_key", "gone")
    assert talk.asks(create()) == "invalid_api_key"


def test_a_quota_has_no_background_and_no_crowd():
    talk = Talking()
    assert talk.asks(create(background=True)) == "endpoint_not_metered"
    told = [talk.asks(create(max_output_tokens=1)) for _ in range(70)]
    assert told.index("rate_limit_exceeded") == 64


@pytest.mark.parametrize("key", [KEY, ANONYMOUS])
def test_a_key_without_limits_may_say_anything(key: IssuedKey):
    talk = Talking(key)
    for event in (create(model="z"), {"type": "new"}, [1], "x", None):
        assert talk.asks(event) == ""
        assert talk.asks(event, text=False) == ""


def test_realtime_is_charged_to_the_model_of_its_session():
    talk = Talking(KEY, b"/v1/realtime?model=a")
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "input_token_details": {"cached_tokens": 60},
    }
    talk.asks({"type": "response.create"})
    talk.tells("response.done", response={"usage": usage})
    assert talk.spent.tokens == 110
    transcription = {"audio": {"input": {"transcription": {"model": "t"}}}}
    talk.asks({"type": "session.update", "session": transcription})
    talk.tells(
        "conversation.item.input_audio_transcription.completed",
        usage={"type": "tokens", "input_tokens": 5, "output_tokens": 2},
    )
    assert talk.spent.tokens == 117
    message = talk.uses.due(0.0)
    assert message is not None
    assert {row[2]: row[5:8] for row in message["rows"]} == {"a": [100, 60, 10], "t": [5, 0, 2]}


def test_a_key_for_some_models_opens_only_what_can_be_checked():
    metering = Metering(UsageBatches(), MetricRegistry(FAMILIES))

    def opened(target: bytes) -> Any:
        return converse(metering, target, PATTERNS, lambda: PATTERNS, lambda: WALL)

    for target in (b"/v1/responses", b"/v1/responses/?x=1", b"/v1/realtime?model=b1"):
        assert isinstance(opened(target), WebSocketMeter)
    for target in (b"/v1/realtime", b"/v1/realtime?model=c"):
        assert opened(target).code == "model_not_found"
    for target in (b"/v1/realtime/calls?model=a", b"/v1/%72esponses", b"/v1/responses//"):
        assert opened(target).code == "endpoint_not_allowed"


def test_answers_that_are_awaited_reserve_quota_and_give_it_back() -> None:
    talk = Talking(KEY._replace(tokens_left=50_000))
    create = {"type": "response.create", "model": "a", "max_output_tokens": 20_000}
    assert [talk.asks(create) for _ in range(3)] == ["", "", "insufficient_quota"]
    talk.tells("response.created", response={"id": "r"})
    talk.done(100)
    assert talk.asks(create) == ""
    assert talk.asks(create) == "insufficient_quota"
    talk.left()
    assert len(talk.metering.reservations) == 0


@pytest.mark.parametrize(
    "event",
    [
        create(model="dear", response={"model": "a"}),
        create(max_output_tokens=1, response={"max_output_tokens": 900}),
        create(background=False, response={"background": True}),
        create(previous_response_id=None, response={"previous_response_id": "r"}),
        create(stream_id="1", response={"stream_id": "2"}),
        create(Max_Output_Tokens=9),
        create(Previous_Response_Id="r"),
        create(response={"Background": True}),
        create(Tools=[]),
    ],
)
def test_a_parameter_that_could_be_taken_in_two_ways_is_refused(event: dict[str, Any]):
    assert Talking(MONEY).asks(event) == "ambiguous_request"


def test_a_parameter_that_is_there_twice_is_refused():
    message = b'{"type":"response.create","model":"a","max_output_tokens":9,"max_output_tokens":1}'
    refused = Talking().dialogue.asks(message, True)
    assert refused is not None
    assert refused.problem.code == "ambiguous_request"


def test_of_several_models_a_key_without_limits_is_charged_the_dearest():
    talk = Talking(KEY)
    talk.asks(create(model="dear", response={"model": "a"}))
    talk.tells(
        "response.completed", response={"usage": {"input_tokens": 0, "output_tokens": 10**6}}
    )
    assert talk.spent.cost == 100 * 10**9


@pytest.mark.parametrize("first", [{"stream_id": "x.delta"}, {"instructions": '.delta"'}])
def test_a_callers_words_make_no_final_event_a_delta(first: dict[str, Any]):
    talk = Talking()
    talk.asks(create(stream_id=first.get("stream_id")))
    usage = {"input_tokens": 7, "output_tokens": 0}
    for event in (
        {"type": "response.completed", **first, "response": {**first, "usage": usage}},
        {**first, "type": "response.completed", "response": {"usage": usage}},
    ):
        talk = Talking()
        talk.asks(create(stream_id=first.get("stream_id")))
        talk.dialogue.tells(json.dumps(event).encode())
        assert talk.spent.tokens == 7
        assert not talk.dialogue.busy


def test_an_answer_that_is_left_costs_what_cannot_be_seen_of_it():
    cases = ((create(model="o3", store=False), 4000), (create(previous_response_id="r"), 5000))
    for event, least in (*cases, (create(), 1000)):
        talk = Talking()
        assert talk.asks(event) == ""
        talk.tells("response.created")
        talk.left()
        assert least <= talk.spent.tokens <= least + 50
    talk = Talking()
    talk.asks(create(model="o3", max_output_tokens=10, store=False))
    talk.left()
    assert talk.spent.tokens <= 60


def test_a_kept_conversation_is_reserved():
    talk = Talking(KEY._replace(tokens_left=6000))
    event = create(previous_response_id="r", max_output_tokens=1)
    assert [talk.asks(event), talk.asks(event)] == ["", "insufficient_quota"]


@pytest.mark.parametrize("models", [("dear", "a"), ("a", "dear")])
def test_an_error_about_another_message_swaps_no_models(models: tuple[str, str]):
    talk = Talking(MONEY)
    talk.asks(create(model=models[0], max_output_tokens=1))
    talk.asks({"type": "response.cancel", "response_id": "no"})
    talk.tells("error", error={})
    talk.asks(create(model=models[1], max_output_tokens=1))
    for number, model in enumerate(models):
        about = {"id": f"r{number}", "model": model}
        talk.tells("response.created", response=about)
        usage = {"input_tokens": 0, "output_tokens": 10**6 if model == "dear" else 0}
        talk.tells("response.completed", response={**about, "usage": usage})
    assert talk.spent.cost == 100 * 10**9
    assert not talk.dialogue.busy


def test_an_answer_of_a_dearer_model_than_asked_for_costs_what_that_costs():
    talk = Talking(MONEY)
    talk.asks(create())
    usage = {"input_tokens": 0, "output_tokens": 10**6}
    talk.tells("response.completed", response={"model": "dear", "usage": usage})
    assert talk.spent.cost == 100 * 10**9


def test_models_of_tools_are_models():
    tools = [{"type": "image_generation", "model": "dear"}]
    for event in (create(tools=tools), create(response={"tools": tools})):
        assert Talking(PATTERNS).asks(event) == "model_not_found"
    schema = {"properties": {"model": {"type": "string"}}, "default": {"model": "x"}}
    function = {"type": "function", "name": "f", "parameters": schema}
    assert Talking(PATTERNS).asks(create(tools=[function])) == ""


def test_values_that_must_be_objects_are_checked():
    talk = Talking(PATTERNS, b"/v1/realtime?model=a")
    for session in ([{"model": "c"}], {"input_audio_transcription": [{"model": "c"}]}):
        event = {"type": "session.update", "session": session}
        assert talk.asks(event) == "malformed_request"
    assert Talking(PATTERNS).asks(create(response=[])) == "malformed_request"


@pytest.mark.parametrize("more", [b"MODEL=c", b"deployment=c", b"%4dodel=c", b"Model="])
def test_a_query_names_its_model_in_one_way(more: bytes):
    metering = Metering(UsageBatches(), MetricRegistry(FAMILIES))
    target = b"/v1/realtime?model=a&" + more
    found = converse(metering, target, PATTERNS, lambda: PATTERNS, lambda: WALL)
    assert isinstance(found, Problem)
    assert found.code == "ambiguous_request"


@pytest.mark.parametrize("key", [KEY, PATTERNS])
@pytest.mark.parametrize("more", [b"&model=b", b";model=b", b"&model=%62"])
def test_a_query_with_several_models_is_ambiguous(key: IssuedKey, more: bytes) -> None:
    metering = Metering(UsageBatches(), MetricRegistry(FAMILIES))
    target = b"/v1/realtime?model=a" + more
    found = converse(metering, target, key, lambda: key, lambda: WALL)
    assert isinstance(found, Problem)
    assert found.code == "ambiguous_request"


def test_an_error_about_a_cancel_makes_no_answer_free() -> None:
    talk = Talking()
    talk.asks(create(input="x" * 400))
    talk.asks({"type": "response.cancel", "response_id": "no"})
    talk.tells("error", error={"code": "x"})
    talk.left()
    assert talk.spent.tokens >= 100


def test_an_error_that_names_its_request_makes_that_free() -> None:
    talk = Talking()
    talk.asks(create(event_id="1", max_output_tokens=1))
    talk.asks(create(event_id="2", max_output_tokens=1))
    talk.tells("error", error={"event_id": "2"})
    talk.left()
    assert 0 < talk.spent.tokens <= 60


def test_an_id_of_two_messages_ties_no_error_to_either() -> None:
    talk = Talking()
    talk.asks({"type": "response.cancel", "event_id": "1"})
    talk.asks(create(event_id="1"))
    talk.tells("error", error={"event_id": "1"})
    talk.left()
    assert talk.spent.tokens > 0


def test_a_realtime_answer_that_is_left_is_estimated() -> None:
    talk = Talking(KEY, b"/v1/realtime?model=a")
    talk.asks({"type": "response.create", "response": {"conversation": "none"}})
    talk.asks({"type": "response.create"})
    for name in "12":
        talk.tells("response.created", response={"id": name})
    usage = {"input_tokens": 7, "output_tokens": 0}
    talk.tells("response.done", response={"id": "2", "status": "completed", "usage": usage})
    assert talk.spent.tokens == 7
    talk.left()
    assert talk.spent.tokens > 7


@pytest.mark.parametrize("bound", [{"max_output_tokens": 1}, {"store": False}])
def test_a_bound_that_only_some_servers_read_bounds_no_reservation(bound: dict[str, Any]) -> None:
    """Servers read the parameters beside `type` or in `response`: the dearer reading counts."""
    held: list[int] = []
    for event in (create(input="x"), create(input="x", response=bound)):
        talk = Talking(TOKENS)
        assert talk.asks(event) == ""
        talk.left()
        held.append(talk.spent.tokens)
    assert held[0] <= held[1] <= held[0] + 20  # the second message is longer


def test_background_is_refused_wherever_it_stands() -> None:
    talk = Talking()
    code = talk.asks(create(background=True, response={"metadata": {}}))
    assert code == "endpoint_not_metered"
    assert talk.asks(create(response={"background": True})) == "endpoint_not_metered"


def test_more_answers_than_can_be_accounted_for_are_refused_to_every_key() -> None:
    talk = Talking(KEY)
    told = [talk.asks(create(input="x")) for _ in range(70)]
    assert told.index("rate_limit_exceeded") == 64
    refused = talk.dialogue.asks(json.dumps(create()).encode(), True)
    assert refused is not None
    assert refused.close == 0
