"""The clients that are driven through mirrorgate, and what their users get.

`docs/apps.md` has a table of it; `python -m tests.e2e.clients.catalogue` renews it.
"""

from dataclasses import dataclass
from pathlib import Path

TRIED = "2026-11-29"
"""When the versions below were chosen and driven."""
STEPS = ("chat", "stream", "helper", "responses", "tools", "embeddings", "image")
"""What a client may be asked for; `helper` puts a stream together by itself."""


@dataclass(frozen=True)
class App:
    """A client in a version, or two that share a script."""

    name: str
    packages: tuple[str, ...]
    """The first is the client itself."""
    script: str
    steps: tuple[str, ...]
    errors: tuple[str, str, str]
    """Names of what its user gets of a 401, a 429 and a stream that breaks; the last is empty where
    the client cannot tell one, whoever serves it."""
    quick: bool = False
    """True if it is small enough for every test run."""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def version(self) -> str:
        return self.packages[0].replace("==", "@").rpartition("@")[2]


OPENAI = ("AuthenticationError", "RateLimitError", "APIError")

APPS = (
    App(
        "openai (Python)",
        ("openai==3.57.0",),
        "openai_python.py",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
        OPENAI,
    ),
    App(
        "openai (Python) 1.x",
        ("openai==1.109.1",),
        "openai_python.py",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
        OPENAI,
        quick=True,
    ),
    App(
        "openai (Python) 0.28",
        ("openai==0.28.1",),
        "openai_python_028.py",
        ("chat", "stream", "tools", "embeddings", "image"),
        OPENAI,
        quick=True,
    ),
    App(
        "openai (Node)",
        ("openai@7.59.0", "ws@8.23.0"),
        "openai_node.mjs",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
        OPENAI,
    ),
    App(
        "openai (Node) 3.x",
        ("openai@3.3.0",),
        "openai_node_3.mjs",
        ("chat", "stream", "tools", "embeddings", "image"),
        ("Error", "Error", "Error"),
        quick=True,
    ),
    App(
        "axios",
        ("axios@1.21.1", "jsdom@26.1.0"),
        "axios_reader.mjs",
        ("chat", "stream", "tools", "embeddings", "image"),
        ("AxiosError", "AxiosError", ""),
        quick=True,
    ),
    App(
        "axios 0.x",
        ("axios@0.27.2", "jsdom@26.1.0"),
        "axios_reader.mjs",
        ("chat", "stream", "tools", "embeddings", "image"),
        ("AxiosError", "AxiosError", ""),
    ),
    App(
        "@ai-sdk/openai",
        ("@ai-sdk/openai@4.0.118", "@ai-sdk/openai-compatible@3.0.92", "ai@7.0.173"),
        "ai_sdk.mjs",
        ("chat", "stream", "helper", "responses", "tools", "embeddings", "image"),
        ("AI_APICallError", "AI_APICallError", "AI_APICallError"),
    ),
    App(
        "@ai-sdk/openai-compatible",
        ("@ai-sdk/openai-compatible@3.0.92", "@ai-sdk/openai@4.0.118", "ai@7.0.173"),
        "ai_sdk.mjs",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
        ("AI_APICallError", "AI_APICallError", "AI_APICallError"),
        environment=(("PROVIDER", "openai-compatible"),),
    ),
    App(
        "langchain-openai",
        ("langchain-openai==1.7.4",),
        "langchain_python.py",
        ("chat", "stream", "tools", "embeddings"),
        ("OpenAIAuthenticationError", "OpenAIRateLimitError", "APIError"),
    ),
    App(
        "llama-index-llms-openai",
        ("llama-index-llms-openai==0.8.3", "llama-index-embeddings-openai==0.7.0"),
        "llama_index_python.py",
        ("chat", "stream", "tools", "embeddings"),
        OPENAI,
    ),
    App(
        "litellm",
        ("litellm==1.110.2",),
        "litellm_python.py",
        ("chat", "stream", "tools", "embeddings", "image"),
        ("AuthenticationError", "RateLimitError", "MidStreamFallbackError"),
    ),
    App("llm", ("llm==0.36",), "llm_command.py", ("chat", "stream"), ("exit code 1",) * 3),
)


START, END = "<!-- clients: python -m tests.e2e.clients.catalogue -->\n", "<!-- end of clients -->"


def table() -> str:
    """The table of `docs/apps.md`."""
    rows = [
        f"| {app.name} | {app.version} | {TRIED} | {', '.join(app.steps)}"
        f" | {' | '.join(f'`{error}`' if error else '–' for error in app.errors)} | passes |"
        for app in APPS
    ]
    head = [
        "| client | version | date | tried | 401 | 429 | broken stream | result |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def renewed(text: str) -> str:
    """Return the document with the table as it is now."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    document = Path(__file__).parents[3] / "docs/apps.md"
    document.write_text(renewed(document.read_text("utf-8")), "utf-8")
