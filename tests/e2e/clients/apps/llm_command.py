"""The command `llm`: run as its user does, with a configuration of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loop import PROMPT, serve

MODELS = """\
- model_id: gate
  model_name: gpt-4o
  api_base: {base_url}
  api_key_name: gate
"""


class Exited(Exception):
    """The command ended with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.shown = f"exit code {code}"


def run(base_url: str, key: str, *options: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as home:
        Path(home, "extra-openai-models.yaml").write_text(MODELS.format(base_url=base_url))
        Path(home, "keys.json").write_text(json.dumps({"gate": key}))
        ran = subprocess.run(
            [str(Path(sys.executable).with_name("llm")), "-m", "gate", *options, PROMPT],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LLM_USER_PATH": home},
        )
    yield ran.stdout.rstrip("\n")
    if ran.returncode:
        raise Exited(ran.returncode, ran.stderr.strip())


def chat(base_url: str, key: str) -> Iterator[str]:
    return run(base_url, key, "--no-stream", "--no-log")


def stream(base_url: str, key: str) -> Iterator[str]:
    return run(base_url, key, "--no-log")


serve({"chat": chat, "stream": stream})
