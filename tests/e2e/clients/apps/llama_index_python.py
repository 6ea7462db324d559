"""LlamaIndex for Python."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

from loop import PROMPT, called, serve

llms: Any = importlib.import_module("llama_index.llms.openai")
embedders: Any = importlib.import_module("llama_index.embeddings.openai")
function_tools: Any = importlib.import_module("llama_index.core.tools")


def weather(city: str) -> str:
    """The weather of a city."""
    return f"fine in {city}"


def model(base_url: str, key: str) -> Any:
    return llms.OpenAI(model="gpt-4o", api_base=base_url, api_key=key, max_retries=0)


def chat(base_url: str, key: str) -> Iterator[str]:
    yield model(base_url, key).complete(PROMPT).text


def stream(base_url: str, key: str) -> Iterator[str]:
    for part in model(base_url, key).stream_complete(PROMPT):
        yield part.delta or ""


def tools(base_url: str, key: str) -> Iterator[str]:
    asked, tool = model(base_url, key), function_tools.FunctionTool.from_defaults(fn=weather)
    answer = asked.chat_with_tools([tool], user_msg=PROMPT)
    (call,) = asked.get_tool_calls_from_response(answer)
    yield called(call.tool_name, call.tool_kwargs)


def embeddings(base_url: str, key: str) -> Iterator[str]:
    embedder = embedders.OpenAIEmbedding(
        model="text-embedding-3-small", api_base=base_url, api_key=key
    )
    yield json.dumps(embedder.get_text_embedding(PROMPT))


serve({"chat": chat, "stream": stream, "tools": tools, "embeddings": embeddings})
