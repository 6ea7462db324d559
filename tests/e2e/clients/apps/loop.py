"""A client's side in an environment of its own: plays steps, and tells what its user saw.

Reads one JSON line for each step, {"step", "base_url", "key"}, and writes one:
{"said", "error"}, where `error` is null or {"type", "status", "code", "message"}.
Only the standard library is here; the clients are imported by the scripts.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PROMPT = "hello"
MESSAGES = [{"role": "user", "content": PROMPT}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

Step = Callable[[str, str], Iterator[str]]
"""Given the base URL with /v1 and the key, gives pieces of text as the user gets them."""


def called(name: str, arguments: Mapping[str, Any]) -> str:
    """The call of a tool as text."""
    return f"{name}({json.dumps(arguments)})"


def serve(steps: Mapping[str, Step]) -> None:
    """Play what is asked for until the input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        said, error = "", None
        try:
            for piece in steps[asked["step"]](asked["base_url"], asked["key"]):
                said += piece
        except Exception as raised:
            error = {
                "type": getattr(raised, "shown", type(raised).__name__),
                "status": getattr(raised, "status_code", None)
                or getattr(raised, "http_status", None),
                "code": getattr(raised, "code", None),
                "message": str(raised),
            }
        print(json.dumps({"said": said, "error": error}), flush=True)
