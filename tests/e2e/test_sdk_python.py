"""OpenAI's Python client, unmodified: first at a mirror itself, then through mirrorgate."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

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
