"""A journey through the API with OpenAI's own Python client, synchronous."""

import base64
from typing import Any

import openai
import pytest

from tests.e2e.clients.entrance import UPLOAD_BYTES, Entrance
from tests.testkit.mirror.answers import SPEECH_BYTES, pieces, vector
from tests.testkit.mirror.payload import generated_file, payload, sha256_of

PROMPT = "说 hello"
ANSWER = "".join(pieces(PROMPT, 5))
TLS_HANDSHAKES = 3


def client_for(entrance: Entrance, key: str | None = None) -> openai.OpenAI:
    """Return the client as its documentation makes it; without retries that would hide a fault."""
    return openai.OpenAI(
        base_url=entrance.base_url,
        api_key=key or entrance.key,
        max_retries=0,
        timeout=45,
        http_client=openai.DefaultHttpxClient(verify=entrance.tls()),
    )


def models(client: openai.OpenAI) -> None:
    assert "gpt-4o" in {model.id for model in client.models.list()}


def chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": PROMPT}]
    )
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def chat_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": PROMPT}],
        stream=True,
        stream_options={"include_usage": True},
    )
    with stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ANSWER
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


def completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="gpt-3.5-turbo", prompt=PROMPT)
    assert answer.choices[0].text == ANSWER
    with client.completions.create(model="gpt-3.5-turbo", prompt=PROMPT, stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == ANSWER


def responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o", input=PROMPT)
    assert answer.output_text == ANSWER


def responses_streamed(client: openai.OpenAI) -> None:
    with client.responses.create(model="gpt-4o", input=PROMPT, stream=True) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == ANSWER
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"


def embeddings(client: openai.OpenAI) -> None:
    texts = ["one", "二"]
    answer = client.embeddings.create(model="text-embedding-3-small", input=texts)
    assert [each.embedding for each in answer.data] == [vector(text) for text in texts]


def moderations(client: openai.OpenAI) -> None:
    assert client.moderations.create(input="some violence").results[0].flagged
    assert not client.moderations.create(input="some tea").results[0].flagged


def images(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="dall-e-3", prompt="a gate")
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "") == payload(3000, seed=1)


def audio_upload(client: openai.OpenAI) -> None:
    size = 1_234_567
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=("talk.mp3", generated_file(size), "audio/mpeg")
    )
    assert answer.text == f"talk.mp3: {size} bytes"
    assert (answer.model_extra or {})["sha256"] == sha256_of(size)


def audio_download(client: openai.OpenAI) -> None:
    asked = client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=PROMPT
    )
    with asked as answer:
        sound = b"".join(answer.iter_bytes())
    assert sound == payload(SPEECH_BYTES, seed=len(PROMPT))
    assert answer.headers["content-type"] == "audio/mpeg"


def file_upload(client: openai.OpenAI) -> None:
    created = client.files.create(
        file=("large.bin", generated_file(UPLOAD_BYTES, seed=3)), purpose="assistants"
    )
    assert created.bytes == UPLOAD_BYTES
    assert (created.model_extra or {})["sha256"] == sha256_of(UPLOAD_BYTES, seed=3)


def raw_headers(client: openai.OpenAI) -> None:
    """The mirror's own headers arrive; what belongs to its site alone is for other tests."""
    answer = client.models.with_raw_response.list()
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["x-ratelimit-remaining-requests"] == "199"
    assert answer.headers["x-request-id"].startswith("req_")


def wrong_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", body={"model": "gpt-4o"}, cast_to=object)
    assert refused.value.code == "missing_parameter"


def wrong_key(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sk-wrong").models.list()
    assert refused.value.code == "invalid_api_key"


def realtime(client: openai.OpenAI, entrance: Entrance) -> None:
    """Over TLS a handshake that hangs is tried again.

    This client's WebSocket reads and writes one SSL object from two threads, which CPython 3.11
    does not guard: about one handshake in a few hundred never ends, whoever the server is.
    """
    for _ in range(TLS_HANDSHAKES if entrance.ca_file else 1):
        try:
            _realtime(client, entrance)
        except TimeoutError as late:
            failure = late
        else:
            return
    raise failure


def _realtime(client: openai.OpenAI, entrance: Entrance) -> None:
    options: Any = {"open_timeout": 5}
    if entrance.ca_file:
        options["ssl"] = entrance.tls()
    manager = client.realtime.connect(model="gpt-realtime", websocket_connection_options=options)
    with manager as connection:
        assert connection.recv().type == "session.created"
        connection.response.create(response={"instructions": PROMPT})
        deltas = []
        for event in connection:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
            if event.type == "response.done":
                break
    assert "".join(deltas) == ANSWER


STEPS = (
    models,
    chat,
    chat_streamed,
    completions,
    responses,
    responses_streamed,
    embeddings,
    moderations,
    images,
    audio_upload,
    audio_download,
    file_upload,
    raw_headers,
    wrong_request,
    wrong_key,
)
"""In the order of the journey; `realtime` takes another argument and is run by itself."""
