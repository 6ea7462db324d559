"""curl's ways to speak HTTP: first at a mirror itself, then through mirrorgate."""

import hashlib
import json
import uuid
from pathlib import Path

import pytest

from tests.e2e.clients.curl import Curl
from tests.e2e.clients.entrance import Entrance
from tests.testkit.mirror.behaviour import Seen
from tests.testkit.mirror.payload import payload, sha256_of

pytestmark = pytest.mark.e2e

JSON = ("--header", "Content-Type: application/json")
PLAIN = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "说 hi"}]}).encode()
STREAMED = PLAIN[:-1] + b', "stream": true}'
LARGE = PLAIN.replace(b"hi", b"x" * 2_000_000)
FROM_STDIN = ("--data-binary", "@-")
CHUNKED = ("--request", "POST", "--upload-file", "-")
"""With a body of unknown length curl uses `Transfer-Encoding: chunked`."""


@pytest.fixture
def curl(entrance: Entrance, tmp_path: Path) -> Curl:
    return Curl(entrance, tmp_path)


@pytest.fixture
def mark() -> str:
    """An id that finds a request again in what the mirrors saw."""
    return uuid.uuid4().hex


def _seen_once(entrance: Entrance, mark: str) -> Seen:
    (seen,) = entrance.seen("x-test-id", mark)
    return seen


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
def test_every_version_gets_the_model_list(curl: Curl, version: str):
    answer = curl("/models", version)
    assert (answer.exit_code, answer.status) == (0, 200)
    assert "gpt-4o" in {model["id"] for model in json.loads(answer.body)["data"]}


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
@pytest.mark.parametrize("body", [PLAIN, LARGE], ids=["small", "large"])
def test_every_version_can_post(
    curl: Curl, entrance: Entrance, version: str, body: bytes, mark: str
):
    answer = curl(
        "/chat/completions", version, *JSON, "-H", f"x-test-id: {mark}", *FROM_STDIN, data=body
    )
    assert (answer.exit_code, answer.status) == (0, 200)
    assert json.loads(answer.body)["choices"][0]["message"]["content"].endswith(" 1 2 3 4")
    assert _seen_once(entrance, mark).body_sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
def test_every_version_gets_a_whole_stream(curl: Curl, version: str):
    answer = curl("/chat/completions", version, "-N", *JSON, *FROM_STDIN, data=STREAMED)
    assert (answer.exit_code, answer.status) == (0, 200)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.body.count(b"data: ") == 8


def test_http_1_0_gets_no_chunked_body(curl: Curl):
    answer = curl("/chat/completions", "--http1.0", *JSON, *FROM_STDIN, data=STREAMED)
    assert "transfer-encoding" not in answer.headers


def test_an_offer_of_h2c_is_not_taken_and_does_not_reach_the_mirror(
    curl: Curl, entrance: Entrance, mark: str
):
    answer = curl("/models", "--http2", "-H", f"x-test-id: {mark}")
    assert (answer.status, answer.version) == (200, "1.1")
    seen = _seen_once(entrance, mark)
    assert seen.header("http2-settings") is None
    assert seen.header("upgrade") is None


def test_head_has_the_headers_and_no_body(curl: Curl):
    answer = curl("/models", "--head")
    assert (answer.exit_code, answer.status) == (0, 200)
    assert int(answer.headers["content-length"]) > 100
    assert not answer.body.startswith(b"{")


def test_a_connection_is_usable_after_head(curl: Curl, entrance: Entrance):
    answer = curl("/models", "--head", f"{entrance.base_url}/models")
    assert (answer.exit_code, answer.status) == (0, 200)
    assert "Re-using existing connection" in answer.trace


def test_expect_is_answered_with_100_continue(curl: Curl, entrance: Entrance, mark: str):
    expecting = ("-H", "Expect: 100-continue", "--expect100-timeout", "40")
    named = ("-H", f"x-test-id: {mark}")
    answer = curl("/chat/completions", *JSON, *expecting, *named, *FROM_STDIN, data=LARGE)
    assert (answer.exit_code, answer.status) == (0, 200)
    assert "< HTTP/1.1 100 Continue" in answer.trace
    assert _seen_once(entrance, mark).body_sha256 == hashlib.sha256(LARGE).hexdigest()


@pytest.mark.parametrize("body", [PLAIN, LARGE], ids=["small", "large"])
def test_a_chunked_request_arrives_whole(curl: Curl, entrance: Entrance, mark: str, body: bytes):
    answer = curl("/chat/completions", *JSON, "-H", f"x-test-id: {mark}", *CHUNKED, data=body)
    assert "> Transfer-Encoding: chunked" in answer.trace
    assert (answer.exit_code, answer.status) == (0, 200)
    assert _seen_once(entrance, mark).body_sha256 == hashlib.sha256(body).hexdigest()


def test_a_chunked_header_on_a_known_body_arrives_whole(curl: Curl, entrance: Entrance, mark: str):
    chunked = ("-H", "Transfer-Encoding: chunked", "-H", f"x-test-id: {mark}")
    answer = curl("/chat/completions", *JSON, *chunked, *FROM_STDIN, data=LARGE)
    assert (answer.exit_code, answer.status) == (0, 200)
    assert _seen_once(entrance, mark).body_sha256 == hashlib.sha256(LARGE).hexdigest()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_form_with_a_large_file_arrives_whole(curl: Curl, tmp_path: Path, chunked: bool):
    size = 20_000_000
    file = tmp_path / "large.bin"
    file.write_bytes(payload(size, seed=9))
    how = ("-H", "Transfer-Encoding: chunked") if chunked else ()
    answer = curl("/files", *how, "-F", "purpose=assistants", "-F", f"file=@{file}")
    assert (answer.exit_code, answer.status) == (0, 200)
    created = json.loads(answer.body)
    assert (created["bytes"], created["sha256"]) == (size, sha256_of(size, seed=9))


def test_a_binary_download_arrives_whole(curl: Curl):
    asked = json.dumps({"model": "tts-1", "voice": "alloy", "input": "hi"}).encode()
    answer = curl("/audio/speech", *JSON, *FROM_STDIN, data=asked)
    assert (answer.exit_code, answer.status) == (0, 200)
    assert hashlib.sha256(answer.body).hexdigest() == answer.headers["x-test-sha256"]


def test_escapes_and_the_query_reach_the_mirror_as_they_were(
    curl: Curl, entrance: Entrance, mark: str
):
    path = "/models/a%2Fb%20c?x=1&y=%E4%BD%A0+z"
    answer = curl(path, "-H", f"x-test-id: {mark}", "--path-as-is", "--globoff")
    assert answer.status == 404
    assert _seen_once(entrance, mark).path == f"/v1{path}"
