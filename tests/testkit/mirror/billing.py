"""Bills of a pretend mirror: its own account, worked out from the requests and not from answers.

Billed is what was answered whole. `x-test-label` of a request says on whose account, as a mirror
sees one key for all callers.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.testkit.mirror import answers
from tests.testkit.mirror.answers import Json
from tests.testkit.mirror.behaviour import Seen

AUDIO_BYTES_PER_SECOND = 100
"""How much of an upload is a second of audio."""
FREE = ("/v1/moderations",)


def billed(path: str, body: Mapping[str, Any], count: int, size: int) -> Counter[str] | None:
    """The bill of a request, by kind; None if it is not billed at all.

    `count`: content events of the answer; `size`: bytes of an uploaded file.
    """
    if path in FREE:
        return Counter()
    if path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"):
        return _text(path, body, count)
    if path == "/v1/embeddings":
        given = body["input"]
        return Counter(input_tokens=len(given) if isinstance(given, list) else 1)
    if path == "/v1/images/generations":
        return Counter(images=body.get("n") or 1)
    if path == "/v1/audio/speech":
        return Counter(characters=len(body["input"]))
    if path == "/v1/audio/transcriptions":
        return Counter(audio_ms=seconds(size) * 1000)
    return None


def _text(path: str, body: Mapping[str, Any], count: int) -> Counter[str]:
    prompt = {
        "/v1/chat/completions": lambda: answers.last_text(body["messages"]),
        "/v1/messages": lambda: answers.last_text(body["messages"]),
        "/v1/completions": lambda: str(body["prompt"]),
        "/v1/responses": lambda: answers.responses_prompt(body),
    }[path]()
    told = answers.usage(prompt, count, body)
    cached = told.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Counter(
        input_tokens=told["prompt_tokens"],
        cached_tokens=cached if path != "/v1/responses" else 0,
        output_tokens=told["completion_tokens"],
    )


def seconds(size: int) -> int:
    """The length of an audio file of so many bytes."""
    return size // AUDIO_BYTES_PER_SECOND


class Bill:
    """Sums by label and model."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Counter[str]] = {}

    def add(self, seen: Seen, body: Mapping[str, Any], model: str, count: int) -> None:
        """A request was answered whole."""
        amounts = billed(seen.path.partition("?")[0], body, count, seen.body_bytes)
        if amounts is not None:
            line = seen.header("x-test-label") or "", model
            self._sums.setdefault(line, Counter()).update({**amounts, "requests": 1})

    def lines(self) -> list[Json]:
        """The bill so far."""
        named = ({"label": label, "model": model} for label, model in self._sums)
        pairs = zip(named, self._sums.values(), strict=True)
        return [{**name, **amounts} for name, amounts in pairs]
