"""Permitted requests with a shared key, and those of them that can be metered."""

from __future__ import annotations

import pytest

from router.admission.config import KeysConfig
from router.admission.endpoint_kinds import Kind, kind_of
from router.admission.key_scope import refusal_of_lent, refusal_of_spent

ENDPOINTS = KeysConfig().endpoints


def code(method: str, path: str, *, limited: bool = False, websocket: bool = False) -> str:
    problem = refusal_of_lent(
        ENDPOINTS, method.encode(), path.encode(), limited=limited, websocket=websocket
    )
    return problem.code if problem is not None else ""


BILLED = {
    "/v1/chat/completions": Kind.text,
    "/v1/chat/completions/": Kind.text,
    "/v1/completions?x=1": Kind.text,
    "/v1/responses": Kind.text,
    "/v1/responses/compact": Kind.text,
    "/v1/messages": Kind.text,
    "/v1/embeddings": Kind.embeddings,
    "/v1/images/generations": Kind.images,
    "/v1/images/edits": Kind.images,
    "/v1/images/variations": Kind.images,
    "/v1/audio/speech": Kind.speech,
    "/v1/audio/transcriptions": Kind.listening,
    "/v1/audio/translations": Kind.listening,
    "/v1/moderations": Kind.free,
}


@pytest.mark.parametrize("path", BILLED)
def test_billed_endpoints_are_open_to_all_keys_and_metered(path: str):
    assert code("POST", path) == ""
    assert code("POST", path, limited=True) == ""
    assert kind_of(b"POST", path.encode()) is BILLED[path]
    assert kind_of(b"GET", path.encode()) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-4o"),
        ("HEAD", "/v1/models"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1/messages/count_tokens"),
    ],
)
def test_free_endpoints_are_open_to_keys_with_a_quota(method: str, path: str):
    assert code(method, path, limited=True) == ""
    assert kind_of(method.encode(), path.encode()) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/assistants"),
        ("POST", "/v1/threads"),
        ("GET", "/v1/vector_stores"),
        ("GET", "/v1/organization/usage/completions"),
        ("GET", "/v1/dashboard/billing/usage"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/?limit=9"),
        ("HEAD", "/v1/chat/completions"),
        ("DELETE", "/v1/models/ft:gpt-4o:me"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches"),
        ("GET", "/v1/audio/voices"),
        ("POST", "/v1/audio/voice_consents"),
        ("POST", "/v1/realtime/client_secrets"),
        ("POST", "/v1/realtime/sessions"),
        ("POST", "/v1/realtime/calls"),
        ("POST", "/v1/chat//completions"),
        ("POST", "/v1/chat/Completions"),
        ("POST", "/v1/chat/completions;x"),
        ("GET", "/v1/chat//completions"),
        ("GET", "/v1/messages//batches"),
        ("GET", "/v1/messages/%62atches"),
        ("PUT", "/v1/responses"),
        ("POST", "/v1/fil%65s"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("POST", "/mj/submit/imagine"),
        ("GET", "/v1/"),
        ("GET", "/"),
    ],
)
def test_endpoints_of_the_account_are_closed_to_issued_keys(method: str, path: str):
    assert code(method, path) == "endpoint_not_allowed"
    everything = refusal_of_lent(("*",), method.encode(), path.encode(), limited=False)
    assert everything is None
    limited = refusal_of_lent(("*",), method.encode(), path.encode(), limited=True)
    assert limited is not None


@pytest.mark.parametrize(
    ("method", "path", "websocket"),
    [
        ("GET", "/v1/realtime?model=x", True),
        ("GET", "/v1/responses/x", True),
        ("POST", "/v1/chat/completions/x", False),
        ("GET", "/v1/responses/resp_1", False),
        ("GET", "/v1/chat/completions/chatcmpl-1", False),
    ],
)
def test_unmetered_endpoints_are_closed_to_keys_with_a_quota(
    method: str, path: str, websocket: bool
):
    assert code(method, path, websocket=websocket) == ""
    assert code(method, path, limited=True, websocket=websocket) == "endpoint_not_metered"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/", "/v1/responses?x=1"])
def test_a_websocket_whose_messages_are_metered_is_open_to_keys_with_a_quota(path: str):
    assert code("GET", path, limited=True, websocket=True) == ""


@pytest.mark.parametrize(
    ("left", "tokens", "spent"),
    [
        (None, None, False),
        (1, None, False),
        (None, 1, False),
        (1, 1, False),
        (0, None, True),
        (-5, 9, True),
        (9, 0, True),
    ],
)
def test_the_quota_that_ends_first_ends_a_key(left: int | None, tokens: int | None, spent: bool):
    problem = refusal_of_spent(left, tokens)
    assert (problem is not None) == spent
    if problem is not None:
        assert (problem.status, problem.code, problem.tried) == (429, "insufficient_quota", True)
