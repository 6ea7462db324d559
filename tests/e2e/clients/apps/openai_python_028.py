"""OpenAI's client for Python before 1.0: a module with settings."""

import base64
import importlib
import json
from collections.abc import Iterator
from typing import Any

from loop import MESSAGES, PROMPT, TOOL, called, serve

openai: Any = importlib.import_module("openai")


def chat(base_url: str, key: str) -> Iterator[str]:
    openai.api_base, openai.api_key = base_url, key
    answer = openai.ChatCompletion.create(model="gpt-4o", messages=MESSAGES)
    yield answer["choices"][0]["message"]["content"]


def stream(base_url: str, key: str) -> Iterator[str]:
    openai.api_base, openai.api_key = base_url, key
    for part in openai.ChatCompletion.create(model="gpt-4o", messages=MESSAGES, stream=True):
        yield part["choices"][0]["delta"].get("content", "")


def tools(base_url: str, key: str) -> Iterator[str]:
    openai.api_base, openai.api_key = base_url, key
    answer = openai.ChatCompletion.create(model="gpt-4o", messages=MESSAGES, tools=[TOOL])
    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    yield called(function["name"], json.loads(function["arguments"]))


def embeddings(base_url: str, key: str) -> Iterator[str]:
    openai.api_base, openai.api_key = base_url, key
    answer = openai.Embedding.create(
        model="text-embedding-3-small",
        input=PROMPT,
        encoding_format="float",  # else it needs numpy
    )
    yield json.dumps(answer["data"][0]["embedding"])


def image(base_url: str, key: str) -> Iterator[str]:
    openai.api_base, openai.api_key = base_url, key
    answer = openai.Image.create(model="dall-e-3", prompt=PROMPT, response_format="b64_json")
    yield str(len(base64.b64decode(answer["data"][0]["b64_json"])))


serve(
    {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "embeddings": embeddings,
        "image": image,
    }
)
