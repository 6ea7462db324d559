"""LiteLLM as a client."""

import base64
import importlib
import json
import os
from collections.abc import Iterator
from typing import Any

from loop import MESSAGES, PROMPT, TOOL, called, serve

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is loaded from the internet
litellm: Any = importlib.import_module("litellm")
litellm.suppress_debug_info = True


def complete(base_url: str, key: str, **more: Any) -> Any:
    return litellm.completion(
        model="openai/gpt-4o",
        messages=MESSAGES,
        api_base=base_url,
        api_key=key,
        max_retries=0,
        **more,
    )


def chat(base_url: str, key: str) -> Iterator[str]:
    yield complete(base_url, key).choices[0].message.content


def stream(base_url: str, key: str) -> Iterator[str]:
    for part in complete(base_url, key, stream=True):
        yield part.choices[0].delta.content or ""


def tools(base_url: str, key: str) -> Iterator[str]:
    function = complete(base_url, key, tools=[TOOL]).choices[0].message.tool_calls[0].function
    yield called(function.name, json.loads(function.arguments))


def embeddings(base_url: str, key: str) -> Iterator[str]:
    answer = litellm.embedding(
        model="openai/text-embedding-3-small", input=[PROMPT], api_base=base_url, api_key=key
    )
    yield json.dumps(answer.data[0]["embedding"])


def image(base_url: str, key: str) -> Iterator[str]:
    answer = litellm.image_generation(
        model="openai/dall-e-3",
        prompt=PROMPT,
        api_base=base_url,
        api_key=key,
    )
    yield str(len(base64.b64decode(answer.data[0].b64_json)))


serve({"chat": chat, "stream": stream, "tools": tools, "embeddings": embeddings, "image": image})
