"""A journey through the API with OpenAI's own Python client, asynchronous and many at once."""

import asyncio
import base64

import openai
import pytest

from tests.e2e.clients.entrance import UPLOAD_BYTES, Entrance
from tests.e2e.clients.sync_journey import ANSWER, PROMPT
from tests.testkit.mirror.answers import SPEECH_BYTES, pieces, vector
from tests.testkit.mirror.payload import generated_file, payload, sha256_of

AT_ONCE = 40


def client_for(entrance: Entrance) -> openai.AsyncOpenAI:
    """Return the client as its documentation makes it; without retries that would hide a fault."""
    return openai.AsyncOpenAI(
        base_url=entrance.base_url,
        api_key=entrance.key,
        max_retries=0,
        timeout=45,
        http_client=openai.DefaultAsyncHttpxClient(verify=entrance.tls()),
    )


async def models(client: openai.AsyncOpenAI) -> None:
    assert "gpt-4o" in {model.id async for model in client.models.list()}


async def chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": PROMPT}]
    )
    assert answer.choices[0].message.content == ANSWER


async def chat_streamed(client: openai.AsyncOpenAI, prompt: str = PROMPT) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": prompt}], stream=True
    )
    async with stream:
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(text) == "".join(pieces(prompt, 5))


async def many_streams_at_once(client: openai.AsyncOpenAI) -> None:
    """None may get another's words."""
    await asyncio.gather(*(chat_streamed(client, f"number {n}") for n in range(AT_ONCE)))


async def responses(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="gpt-4o", input=PROMPT)
    assert answer.output_text == ANSWER


async def responses_streamed(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(model="gpt-4o", input=PROMPT) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == ANSWER
    assert kinds[-1] == "response.completed"


async def embeddings(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="text-embedding-3-small", input="one")
    assert answer.data[0].embedding == vector("one")


async def moderations(client: openai.AsyncOpenAI) -> None:
    answer = await client.moderations.create(input="some violence")
    assert answer.results[0].flagged


async def images(client: openai.AsyncOpenAI) -> None:
    answer = await client.images.generate(model="dall-e-3", prompt="a gate")
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "") == payload(3000, seed=1)


async def audio_upload(client: openai.AsyncOpenAI) -> None:
    size = 1_234_567
    answer = await client.audio.transcriptions.create(
        model="whisper-1", file=("talk.mp3", payload(size), "audio/mpeg")
    )
    assert (answer.model_extra or {})["sha256"] == sha256_of(size)


async def audio_download(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.speech.create(model="tts-1", voice="alloy", input=PROMPT)
    assert answer.content == payload(SPEECH_BYTES, seed=len(PROMPT))


async def file_upload(client: openai.AsyncOpenAI) -> None:
    created = await client.files.create(
        file=("large.bin", generated_file(UPLOAD_BYTES, seed=4)), purpose="assistants"
    )
    assert created.bytes == UPLOAD_BYTES
    assert (created.model_extra or {})["sha256"] == sha256_of(UPLOAD_BYTES, seed=4)


async def leaving_a_stream_early(client: openai.AsyncOpenAI) -> None:
    """A client that closes after the first words can go on with the next request."""
    stream = await client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": PROMPT}],
        stream=True,
        extra_headers={"x-test-behaviour": '{"events": 50, "event_delay": 0.05}'},
    )
    async with stream:
        await anext(aiter(stream))
    await chat(client)


async def wrong_key(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-wrong").models.list()


async def realtime(client: openai.AsyncOpenAI, entrance: Entrance) -> None:
    secured = {"ssl": entrance.tls()} if entrance.ca_file else {}
    manager = client.realtime.connect(
        model="gpt-realtime",
        websocket_connection_options=secured,  # type: ignore[arg-type]
    )
    async with manager as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.response.create(response={"instructions": PROMPT})
        deltas = []
        async for event in connection:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
            if event.type == "response.done":
                break
    assert "".join(deltas) == ANSWER


STEPS = (
    models,
    chat,
    chat_streamed,
    many_streams_at_once,
    responses,
    responses_streamed,
    embeddings,
    moderations,
    images,
    audio_upload,
    audio_download,
    file_upload,
    leaving_a_stream_early,
    wrong_key,
)
"""In the order of the journey; `realtime` takes another argument and is run by itself."""
