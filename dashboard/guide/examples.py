"""Examples of using the API: the files in `snippets/` with the base URL of this place filled in.

`TASKS` names every one that is shown; a test takes them from the page and runs them as printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

TASKS: Mapping[str, Mapping[str, str]] = {
    "environment": {"shell.sh": "Linux, macOS"},
    "models": {"curl.sh": "curl"},
    "chat": {
        "curl.sh": "curl",
        "openai.py": "Python",
        "requests.py": "Python · requests",
        "openai-0.28.py": "Python · openai 0.28",
        "openai.mjs": "Node.js",
        "openai.ts": "TypeScript",
        "fetch.mjs": "fetch",
        "axios.mjs": "axios",
        "curl.php": "PHP",
        "Chat.java": "Java",
        "OkHttpChat.java": "OkHttp",
        "chat.go": "Go",
    },
    "stream": {
        "openai.py": "Python",
        "openai.mjs": "Node.js",
        "curl.sh": "curl",
        "browser.html": "HTML",
    },
    "conversation": {"openai.py": "Python", "openai.mjs": "Node.js"},
    "embeddings": {"openai.py": "Python", "curl.sh": "curl"},
    "moderations": {"openai.py": "Python", "curl.sh": "curl"},
    "images": {"openai.py": "Python", "openai.mjs": "Node.js"},
    "key": {"curl.sh": "curl"},
    "status": {"curl.sh": "curl"},
    "legacy": {"chat.sh": "/pro/chat/completions", "balance.sh": "/pro/balance"},
}
"""Tasks, and for each the files that do it with what their tabs say."""

PLACEHOLDER = "https://YOUR-ENTRANCE/v1"
"""The base URL where the operator has not said the public one."""
MODEL = "gpt-4o-mini"
"""The model of the examples, where it can be asked for."""


@dataclass(frozen=True, slots=True)
class Example:
    """One way to do a task."""

    id: str
    """For addresses and elements of a page."""
    label: str
    code: str


def examples(task: str, base_url: str, model: str = MODEL, page: str = "") -> list[Example]:
    """The ways to do a task, with this base URL (as `https://host/v1`), model, and address of the
    status page."""
    url = urlsplit(base_url)
    values = {
        "base": base_url,
        "root": f"{url.scheme}://{url.netloc}",
        "model": model,
        "page": page,
    }
    return [
        Example(f"{task}-{name.replace('.', '-').lower()}", label, _filled(code, values))
        for (name, label), code in zip(TASKS[task].items(), _codes(task), strict=True)
    ]


def model_for(offered: list[str]) -> str:
    """The model of the examples: the usual one if it is offered or nothing is known, else a chat
    model that is."""
    if not offered or MODEL in offered:
        return MODEL
    return next((name for name in offered if name.startswith(("gpt-4", "gpt-"))), offered[0])


@cache
def _codes(task: str) -> list[str]:
    folder = resources.files("dashboard.guide") / "snippets" / task
    return [(folder / f"{name}.txt").read_text("utf-8").strip() for name in TASKS[task]]


def _filled(code: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        code = code.replace(f"{{{{{name}}}}}", value)
    return code
