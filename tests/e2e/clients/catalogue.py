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
    quick: bool = False
    """True if it is small enough for every test run."""
    environment: tuple[tuple[str, str], ...] = ()
    sees_breaks: bool = True
    """False if it cannot tell a stream that breaks, whoever serves it."""

    @property
    def version(self) -> str:
        return self.packages[0].replace("==", "@").rpartition("@")[2]


APPS = (
    App(
        "openai (Python)",
        ("openai==3.57.0",),
        "openai_python.py",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
    ),
    App(
        "openai (Python) 1.x",
        ("openai==1.109.1",),
        "openai_python.py",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
        quick=True,
    ),
    App(
        "openai (Python) 0.28",
        ("openai==0.28.1",),
        "openai_python_028.py",
        ("chat", "stream", "tools", "embeddings", "image"),
        quick=True,
    ),
    App(
        "openai (Node)",
        ("openai@7.59.0", "ws@8.23.0"),
        "openai_node.mjs",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
    ),
    App(
        "openai (Node) 3.x",
        ("openai@3.3.0",),
        "openai_node_3.mjs",
        ("chat", "stream", "tools", "embeddings", "image"),
        quick=True,
    ),
    App(
        "axios",
        ("axios@1.21.1", "jsdom@26.1.0"),
        "axios_reader.mjs",
        ("chat", "stream", "tools", "embeddings", "image"),
        quick=True,
        sees_breaks=False,  # jsdom's request does not end then
    ),
    App(
        "axios 0.x",
        ("axios@0.27.2", "jsdom@26.1.0"),
        "axios_reader.mjs",
        ("chat", "stream", "tools", "embeddings", "image"),
        sees_breaks=False,  # jsdom's request does not end then
    ),
    App(
        "@ai-sdk/openai",
        ("@ai-sdk/openai@4.0.118", "@ai-sdk/openai-compatible@3.0.92", "ai@7.0.173"),
        "ai_sdk.mjs",
        ("chat", "stream", "helper", "responses", "tools", "embeddings", "image"),
    ),
    App(
        "@ai-sdk/openai-compatible",
        ("@ai-sdk/openai-compatible@3.0.92", "@ai-sdk/openai@4.0.118", "ai@7.0.173"),
        "ai_sdk.mjs",
        ("chat", "stream", "helper", "tools", "embeddings", "image"),
        environment=(("PROVIDER", "openai-compatible"),),
    ),
    App(
        "langchain-openai",
        ("langchain-openai==1.7.4",),
        "langchain_python.py",
        ("chat", "stream", "tools", "embeddings"),
    ),
    App(
        "llama-index-llms-openai",
        ("llama-index-llms-openai==0.8.3", "llama-index-embeddings-openai==0.7.0"),
        "llama_index_python.py",
        ("chat", "stream", "tools", "embeddings"),
    ),
    App(
        "litellm",
        ("litellm==1.110.2",),
        "litellm_python.py",
        ("chat", "stream", "tools", "embeddings", "image"),
    ),
    App("llm", ("llm==0.36",), "llm_command.py", ("chat", "stream")),
)


START, END = "<!-- clients: python -m tests.e2e.clients.catalogue -->\n", "<!-- end of clients -->"


def table() -> str:
    """The table of `docs/apps.md`."""
    rows = [
        f"| {app.name} | {app.version} | {TRIED} | {', '.join(app.steps)}"
        f"{'' if app.sees_breaks else '; no broken stream'} | passes |"
        for app in APPS
    ]
    head = ["| client | version | date | tried | result |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def renewed(text: str) -> str:
    """Return the document with the table as it is now."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    document = Path(__file__).parents[3] / "docs/apps.md"
    document.write_text(renewed(document.read_text("utf-8")), "utf-8")
