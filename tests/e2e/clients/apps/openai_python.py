"""OpenAI's client for Python since 1.0."""

import base64
import importlib
import json
from collections.abc import Iterator
from typing import Any

from loop import MESSAGES, PROMPT, TOOL, called, serve

openai: Any = importlib.import_module("openai")


def client(base_url: str, key: str) -> Any:
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)


def chat(base_url: str, key: str) -> Iterator[str]:
    answer = client(base_url, key).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    yield answer.choices[0].message.content


def stream(base_url: str, key: str) -> Iterator[str]:
    for part in client(base_url, key).chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    ):
        yield part.choices[0].delta.content or ""


def helper(base_url: str, key: str) -> Iterator[str]:
    """The helper that puts a stream together, and the names it gives to the whole."""
    asked = client(base_url, key)
    completions = getattr(asked.chat.completions, "stream", None)
    helper = completions or asked.beta.chat.completions.stream
    with helper(model="gpt-4o", messages=MESSAGES) as events:
        whole = events.get_final_completion()
    assert whole.model == "gpt-4o", whole
    assert whole.choices[0].message.role == "assistant", whole
    yield whole.choices[0].message.content


def tools(base_url: str, key: str) -> Iterator[str]:
    answer = client(base_url, key).chat.completions.create(
        model="gpt-4o", messages=MESSAGES, tools=[TOOL]
    )
    function = answer.choices[0].message.tool_calls[0].function
    yield called(function.name, json.loads(function.arguments))


def embeddings(base_url: str, key: str) -> Iterator[str]:
    answer = client(base_url, key).embeddings.create(model="text-embedding-3-small", input=PROMPT)
    yield json.dumps(answer.data[0].embedding)


def image(base_url: str, key: str) -> Iterator[str]:
    answer = client(base_url, key).images.generate(
        model="dall-e-3", prompt=PROMPT, response_format="b64_json"
    )
    yield str(len(base64.b64decode(answer.data[0].b64_json)))


serve(
    {
        "chat": chat,
        "stream": stream,
        "helper": helper,
        "tools": tools,
        "embeddings": embeddings,
        "image": image,
    }
)
