"""Well-known apps, and what each is told to use this router.

The names of variables and images are those of the apps' own documentation. A key is not written on
a command line: `-e OPENAI_API_KEY` takes it from the environment.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Application:
    """An app: where its base URL is set, and a container of it, if there is one."""

    name: str
    setting: str
    """A variable, or the way through its menus."""
    whole: bool = True
    """True if it wants the base URL with its /v1, false without."""
    docker: tuple[str, ...] = ()
    """Options of `docker run` after its key and base URL; the image is the last one."""

    def value(self, base_url: str) -> str:
        """The value to set."""
        return base_url if self.whole else base_url.removesuffix("/v1")

    def command(self, base_url: str) -> str:
        """The `docker run` line; empty without one."""
        if not self.docker:
            return ""
        lines = [
            "docker run -d -e OPENAI_API_KEY",
            f"-e {self.setting}={self.value(base_url)}",
            *self.docker,
        ]
        return " \\\n  ".join(lines)


APPLICATIONS = (
    Application(
        "NextChat (ChatGPT-Next-Web)",
        "BASE_URL",
        False,
        ("-e CODE=a-password", "-p 127.0.0.1:3000:3000", "yidadaa/chatgpt-next-web"),
    ),
    Application(
        "Open WebUI",
        "OPENAI_API_BASE_URL",
        True,
        (
            "-p 127.0.0.1:3000:8080",
            "-v open-webui:/app/backend/data",
            "ghcr.io/open-webui/open-webui:main",
        ),
    ),
    Application(
        "LobeChat",
        "OPENAI_PROXY_URL",
        True,
        ("-e ACCESS_CODE=a-password", "-p 127.0.0.1:3210:3210", "lobehub/lobe-chat"),
    ),
    Application(
        "chatgpt-web",
        "OPENAI_API_BASE_URL",
        False,
        (
            "-e AUTH_SECRET_KEY=a-password",
            "-p 127.0.0.1:3002:3002",
            "chenzhaoyu94/chatgpt-web",
        ),
    ),
    Application("openai-translator", "Settings → API URL", False),
    Application("Cherry Studio", "Settings → Providers → OpenAI → API host", False),
    Application("Continue", "config.yaml: apiBase"),
    Application("Zed", "settings.json: language_models.openai.api_url"),
    Application("LangChain", "ChatOpenAI(base_url=…)"),
    Application("LlamaIndex", "OpenAI(api_base=…)"),
    Application("Vercel AI SDK", "createOpenAI({ baseURL: … })"),
    Application("LiteLLM", "completion(api_base=…)"),
)
"""In the order of the page: first those that are run in a container."""
