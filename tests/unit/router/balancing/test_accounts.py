"""Requests that make or name something that only one account has."""

from __future__ import annotations

import pytest

from router.balancing.accounts import is_stateful


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("files", "/v1/files"),
        ("uploads", "/v1/uploads/u/parts"),
        ("batches", "/v1/batches/b"),
        ("fine_tuning", "/v1/fine_tuning/jobs"),
        ("assistants", "/v1/assistants"),
        ("threads", "/v1/threads/t/runs"),
        ("vector_stores", "/v1/vector_stores"),
        ("containers", "/v1/containers"),
        ("conversations", "/v1/conversations"),
        ("evals", "/v1/evals"),
        ("videos", "/v1/videos"),
        ("responses", "/v1/responses/resp_1"),
        ("responses", "/v1/responses/resp_1/cancel"),
        ("chat", "/v1/chat/completions/c"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
def test_requests_with_ids_are_stateful(method: bytes, endpoint: str, path: str) -> None:
    assert is_stateful(method, endpoint, path.encode(), b"{}")


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("models", "/v1/models"),
        ("embeddings", "/v1/embeddings"),
        ("images", "/v1/images/generations"),
        ("audio", "/v1/audio/speech"),
        ("moderations", "/v1/moderations"),
        ("realtime", "/v1/realtime"),
        ("other", "/v1/messages"),
    ],
)
def test_requests_without_ids_are_stateless(endpoint: str, path: str) -> None:
    assert not is_stateful(b"POST", endpoint, path.encode(), b'{"store": true}')


@pytest.mark.parametrize(
    ("body", "response", "chat"),
    [
        (b"{}", True, False),
        (b'{"store": true}', True, True),
        (b'{"store": false}', False, False),
        (b'{"store": false, "input": {"store": true}}', False, False),
        (b'{"store": null}', True, False),
        (b'{"store": false, "previous_response_id": "r"}', True, True),
        (b'{"store": false, "conversation": "c"}', True, True),
        (b'{"store": false, "input": [{"type": "input_file", "file_id": "f"}]}', True, True),
        (b'{"store": false, "tools": [{"vector_store_ids": ["v"]}]}', True, True),
        (b'{"store": false, "model": "ft:gpt-4o:me::1"}', True, True),
        (None, True, True),
    ],
)
@pytest.mark.parametrize("query", [b"", b"/", b"?x=1"])
def test_an_answer_is_stateful_if_it_is_kept_or_follows_something_kept(
    body: bytes | None, response: bool, chat: bool, query: bytes
) -> None:
    assert is_stateful(b"POST", "responses", b"/v1/responses" + query, body) is response
    assert is_stateful(b"POST", "chat", b"/v1/chat/completions" + query, body) is chat


def test_a_dialogue_over_a_websocket_is_stateful() -> None:
    assert is_stateful(b"GET", "responses", b"/v1/responses", b"")
