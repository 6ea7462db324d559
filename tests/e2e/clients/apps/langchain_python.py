"""LangChain for Python."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

from loop import PROMPT, TOOL, called, serve

langchain_openai: Any = importlib.import_module("langchain_openai")


def model(base_url: str, key: str) -> Any:
    return langchain_openai.ChatOpenAI(
        model="gpt-4o", base_url=base_url, api_key=key, max_retries=0
    )


def chat(base_url: str, key: str) -> Iterator[str]:
    yield model(base_url, key).invoke(PROMPT).content


def stream(base_url: str, key: str) -> Iterator[str]:
    for part in model(base_url, key).stream(PROMPT):
        yield part.content


def tools(base_url: str, key: str) -> Iterator[str]:
    (call,) = model(base_url, key).bind_tools([TOOL]).invoke(PROMPT).tool_calls
    yield called(call["name"], call["args"])


def embeddings(base_url: str, key: str) -> Iterator[str]:
    embedder = langchain_openai.OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=base_url,
        api_key=key,
        check_embedding_ctx_length=False,  # else it loads a tokenizer's table from the internet
    )
    yield json.dumps(embedder.embed_query(PROMPT))


serve({"chat": chat, "stream": stream, "tools": tools, "embeddings": embeddings})
