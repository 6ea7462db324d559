"""OpenAI's Python client, unmodified: first at a mirror itself, then through mirrorgate."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import openai
import pytest

from tests.e2e.clients import async_journey, sync_journey
from tests.e2e.clients.entrance import Entrance

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(entrance: Entrance) -> Iterator[openai.OpenAI]:
    with sync_journey.client_for(entrance) as client:
        yield client


@pytest.fixture
async def async_client(entrance: Entrance) -> AsyncIterator[openai.AsyncOpenAI]:
    async with async_journey.client_for(entrance) as client:
        yield client


@pytest.mark.parametrize("step", sync_journey.STEPS, ids=lambda step: step.__name__)
def test_the_synchronous_client_travels(
    client: openai.OpenAI, step: Callable[[openai.OpenAI], None]
):
    step(client)


@pytest.mark.parametrize("step", async_journey.STEPS, ids=lambda step: step.__name__)
async def test_the_asynchronous_client_travels(
    async_client: openai.AsyncOpenAI, step: Callable[[openai.AsyncOpenAI], Awaitable[None]]
):
    await step(async_client)


def test_the_synchronous_client_speaks_realtime(client: openai.OpenAI, entrance: Entrance):
    sync_journey.realtime(client, entrance)


async def test_the_asynchronous_client_speaks_realtime(
    async_client: openai.AsyncOpenAI, entrance: Entrance
):
    await async_journey.realtime(async_client, entrance)


async def test_a_key_in_the_realtime_subprotocol_stays_in_it(entrance: Entrance):
    """As browsers do it, which cannot set headers on a WebSocket."""
    mark = uuid.uuid4().hex
    wire_tls = entrance.tls() if entrance.ca_file else True
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{entrance.base_url}/realtime?model=gpt-realtime",
            protocols=["realtime", f"openai-insecure-api-key.{entrance.key}"],
            headers={"x-test-id": mark},
            ssl=wire_tls,
        ) as wire,
    ):
        assert wire.protocol == "realtime"
        assert (await wire.receive_json())["type"] == "session.created"
        await wire.send_bytes(b"\x00\xff" * 40_000)
        assert await wire.receive_bytes() == b"\x00\xff" * 40_000
        await wire.send_json({"type": "test.close", "code": 4001, "reason": "enough"})
        closed = await wire.receive()
    assert (closed.data, closed.extra) == (4001, "enough")
    (seen,) = entrance.seen("x-test-id", mark)
    assert (seen.key, seen.carrier) == (entrance.key, "subprotocol")
