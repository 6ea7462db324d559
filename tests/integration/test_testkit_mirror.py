"""The pretend mirror must do what the tests of mirrorgate will believe of it."""

import asyncio
import hashlib
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.testkit.certs import Authority
from tests.testkit.mirror.payload import payload
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.wait import wait_until, wait_until_async

AUTH = {"Authorization": f"Bearer {TEST_KEY}"}
CHAT = {"model": "gpt-4", "stream": True, "messages": [{"role": "user", "content": "你好"}]}


@pytest.fixture
async def mirror() -> AsyncIterator[PretendMirror]:
    async with PretendMirror("alpha") as mirror:
        yield mirror


@pytest.fixture
async def client(mirror: PretendMirror) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(mirror.base_url, headers=AUTH) as session:
        yield session


async def test_a_request_without_a_key_gets_openai_s_401(mirror: PretendMirror):
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{mirror.base_url}/v1/models")
        document = await answer.json()
    assert answer.status == 401
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-test-mirror"] == "alpha"


@pytest.mark.parametrize("carrier", ["api-key", "x-api-key", "mj-api-secret"])
async def test_the_key_and_its_carrier_are_recorded(mirror: PretendMirror, carrier: str):
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{mirror.base_url}/v1/models", headers={carrier: TEST_KEY})
    assert answer.status == 200
    assert (mirror.seen()[0].key, mirror.seen()[0].carrier) == (TEST_KEY, carrier)


async def test_a_body_is_recorded_by_its_hash(mirror: PretendMirror, client: aiohttp.ClientSession):
    blob = json.dumps({"model": "m", "input": "x"}).encode()
    answer = await client.post("/v1/embeddings", data=blob)
    assert answer.status == 200
    (seen,) = mirror.seen()
    assert (seen.body_bytes, seen.body_sha256) == (len(blob), hashlib.sha256(blob).hexdigest())
    assert seen.outcome == "answered"


async def test_a_stream_has_the_wished_events_and_a_clean_end(
    mirror: PretendMirror, client: aiohttp.ClientSession
):
    await mirror.behave(events=3)
    answer = await client.post("/v1/chat/completions", json=CHAT)
    text = await answer.text()
    assert text.endswith("data: [DONE]\n\n")
    assert text.count("data: ") == 3 + 3  # with the role, the end and [DONE]
    assert "你好" in text


async def _read_into(received: bytearray, answer: aiohttp.ClientResponse) -> None:
    async for chunk in answer.content.iter_any():
        received += chunk


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_cut_stream_breaks_after_so_many_events_and_has_no_clean_end(
    mirror: PretendMirror, client: aiohttp.ClientSession, how: str
):
    await mirror.behave(events=5, cut_after=2, cut=how, event_delay=0.01)
    received = bytearray()
    async with client.post("/v1/chat/completions", json=CHAT) as answer:
        with pytest.raises(aiohttp.ClientError):
            await _read_into(received, answer)
    assert b" 1" in received
    assert b" 2" not in received
    assert mirror.seen()[0].outcome == "cut"


async def test_a_plain_answer_can_be_cut_in_the_middle(
    mirror: PretendMirror, client: aiohttp.ClientSession
):
    await mirror.behave(cut_after=0)
    async with client.get("/v1/models") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_stalled_stream_keeps_its_connection_and_notes_when_the_client_leaves(
    mirror: PretendMirror, client: aiohttp.ClientSession
):
    await mirror.behave(stall_after=1)
    answer = await client.post("/v1/chat/completions", json=CHAT)
    await answer.content.readuntil(b"\n\n")
    await answer.content.readuntil(b"\n\n")
    assert mirror.record.open() == 1
    answer.close()
    await wait_until_async(lambda: mirror.seen()[0].outcome == "gone", what="the client to go")


async def test_faults_meet_every_nth_request_of_the_paths_they_are_for(
    mirror: PretendMirror, client: aiohttp.ClientSession
):
    await mirror.behave(status=503, retry_after="7", every=2, only="/v1/models")
    answers = [await client.get("/v1/models") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 503, 200, 503]
    assert answers[1].headers["Retry-After"] == "7"
    assert (await client.get("/bulk/5")).status == 200


async def test_one_request_can_set_switches_for_itself(client: aiohttp.ClientSession):
    own = {"x-test-behaviour": json.dumps({"status": 429, "error_code": "insufficient_quota"})}
    spoilt = await client.get("/v1/models", headers=own)
    assert spoilt.status == 429
    assert (await spoilt.json())["error"]["type"] == "insufficient_quota"
    assert (await client.get("/v1/models")).status == 200


async def _what_happens(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(0.3):
            return "answer" if await reader.read(1) else "end"
    except TimeoutError:
        return "silence"
    finally:
        writer.transport.abort()


async def test_the_listener_can_refuse_reset_and_keep_silent_on_the_same_port(
    mirror: PretendMirror, client: aiohttp.ClientSession
):
    port = mirror.port
    assert await _what_happens(port) == "answer"
    await mirror.behave(listener="refuse")
    with pytest.raises(ConnectionRefusedError):
        await _what_happens(port)
    await mirror.behave(listener="reset")
    with pytest.raises(ConnectionResetError):
        await _what_happens(port)
    await mirror.behave(listener="mute")
    assert await _what_happens(port) == "silence"
    await mirror.behave(listener="serve")
    assert (await client.get("/v1/models")).status == 200
    assert mirror.port == port


async def test_an_upload_is_hashed_and_can_be_downloaded(client: aiohttp.ClientSession):
    content = payload(300_000)
    form = aiohttp.FormData({"purpose": "assistants"})
    form.add_field("file", content, filename="a.bin")
    created = await (await client.post("/v1/files", data=form)).json()
    assert created["bytes"] == len(content)
    assert created["sha256"] == hashlib.sha256(content).hexdigest()
    answer = await client.get(f"/v1/files/{created['id']}/content")
    assert await answer.read() == content


async def test_realtime_takes_the_key_from_the_subprotocol(mirror: PretendMirror):
    protocols = ["realtime", f"openai-insecure-api-key.{TEST_KEY}"]
    url = f"{mirror.base_url}/v1/realtime?model=gpt-realtime"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=protocols) as wire,
    ):
        assert (await wire.receive_json())["type"] == "session.created"
        await wire.send_bytes(b"\0\1")
        assert await wire.receive_bytes() == b"\0\1"
        await wire.send_json({"type": "test.close", "code": 4001, "reason": "so"})
        assert (await wire.receive()).data == 4001
    assert wire.protocol == "realtime"
    assert mirror.seen()[0].carrier == "subprotocol"


async def test_realtime_without_a_key_is_refused_before_the_upgrade(mirror: PretendMirror):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await session.ws_connect(f"{mirror.base_url}/v1/realtime")


def test_the_program_can_be_steered_while_it_refuses_and_comes_back_on_its_port(
    tmp_path: Path, authority: Authority
):
    with MirrorProcess("beta", tmp_path, leaf=authority.issue("beta.test"), events=2) as mirror:
        port = mirror.port
        mirror.behave(listener="refuse")
        assert mirror.seen() == []
        mirror.kill()
        mirror.start()
        assert mirror.port == port
        assert mirror.base_url.startswith("https://")


def test_the_program_ends_on_sigterm_even_while_it_stalls(tmp_path: Path):
    with (
        MirrorProcess("gamma", tmp_path, latency=60) as mirror,
        socket.create_connection(("127.0.0.1", mirror.port)) as waiting,
    ):
        waiting.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(mirror.seen, what="the request to arrive")
        begun = time.monotonic()
        assert mirror.stop() == 0
        assert time.monotonic() - begun < 5
