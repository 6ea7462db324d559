"""One streamed request with OpenAI's own clients: what was said, and how it ended."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai

from tests.e2e.clients.environments import OPENAI_NODE, linked
from tests.testkit.programs import require

PROMPT = "hello"
TIMEOUT = 45.0
_SCRIPT = Path(__file__).parent / "failing.mjs"
Ended = tuple[str, str | None]
"""What was said, and the error's code; None if it ended well."""


def with_python(base_url: str, key: str, kind: str, directory: Path) -> Ended:
    """The client for Python."""
    said = ""
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=TIMEOUT) as client:
        try:
            for word in _KINDS[kind](client):
                said += word
        except openai.APIError as error:
            return said, error.code or type(error).__name__
    return said, None


def _chat(client: openai.OpenAI) -> Iterable[str]:
    messages: Any = [{"role": "user", "content": PROMPT}]
    with client.chat.completions.create(model="gpt-4o", messages=messages, stream=True) as stream:
        for event in stream:
            yield (event.choices[0].delta.content or "") if event.choices else ""


def _completions(client: openai.OpenAI) -> Iterable[str]:
    with client.completions.create(model="gpt-3.5-turbo", prompt=PROMPT, stream=True) as stream:
        for event in stream:
            yield event.choices[0].text


def _responses(client: openai.OpenAI) -> Iterable[str]:
    asked = client.responses.create(model="gpt-4o", input=PROMPT, store=False, stream=True)
    with asked as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                yield event.delta


_KINDS: dict[str, Callable[[openai.OpenAI], Iterable[str]]] = {
    "chat": _chat,
    "completions": _completions,
    "responses": _responses,
}


def with_node(base_url: str, key: str, kind: str, directory: Path) -> Ended:
    """The client for Node; `directory` is where its script and packages are put."""
    ran = subprocess.run(
        [require("node"), str(linked(_SCRIPT, directory / "node", OPENAI_NODE))],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, "BASE_URL": base_url, "API_KEY": key, "KIND": kind},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    return told["said"], told["code"]
