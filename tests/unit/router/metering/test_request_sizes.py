"""Parts of a request that count for an estimate of its input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.metering.request_scan import ATTACHED, scan_request

BLOB = "iVBORw0KGgo" * 100_000
WORDS = "word " * 2000
DOCUMENT = {"type": "text", "media_type": "text/plain", "data": BLOB}


def size_of(data: dict[str, Any]) -> int:
    asked = scan_request(json.dumps(data).encode(), ask=True)
    assert asked is not None
    return asked.size


@pytest.mark.parametrize("turns", ["messages", "input"])
@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BLOB}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{BLOB}"},
        {"type": "input_audio", "input_audio": {"data": BLOB, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": BLOB}},
        {"type": "image", "source": {"type": "base64", "data": BLOB}},
    ],
)
def test_an_attachment_counts_as_a_thousand_tokens(turns: str, part: dict[str, Any]) -> None:
    data = {turns: [{"role": "user", "content": [{"type": "text", "text": WORDS}, part]}]}
    size = size_of(data)
    assert len(WORDS) + ATTACHED <= size <= len(WORDS) + ATTACHED + 300


@pytest.mark.parametrize(
    "data",
    [
        {"messages": [{"content": BLOB}]},
        {"messages": [{"content": [{"type": "text", "text": BLOB}]}]},
        {"messages": [{"content": [{"text": BLOB}]}]},
        {"input": BLOB},
        {"messages": [{"content": [{"type": "document", "source": DOCUMENT}]}]},
        {"messages": [{"content": [{"type": "document", "context": BLOB}]}]},
        {"messages": [{"content": [{"type": "search_result", "source": BLOB}]}]},
        {"prompt": BLOB},
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
        {"messages": "x" * 5000, "input": {"content": 5}},
        {"messages": [[], 5, {"content": [7, {"type": "image_url"}]}], "pad": "x" * 5000},
    ],
)
def test_words_count_by_the_letter(data: dict[str, Any]) -> None:
    assert size_of(data) == len(json.dumps(data))
