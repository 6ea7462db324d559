"""The snippets of `/docs`, taken from the page as a reader copies them, and run as printed.

`RUNS` has one way to run for each of them. Those of `SLOW` need compilers or packages of their own
and are run by `make prove`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.e2e.clients.environments import node_modules, python_with
from tests.testkit.mirror.payload import payload
from tests.testkit.programs import missing, require

ANSWER = "Hello 1 2 3 4"
"""The pretend mirror says what it was told, and counts."""
NODE_PACKAGES = ("openai@7.59.0", "axios@1.21.1")
TYPESCRIPT = ("openai@7.59.0", "typescript@5.9.3", "@types/node@24.10.1")
JARS = [Path(f"/usr/share/java/{name}.jar") for name in ("okhttp", "okio")]
TIMEOUT = 120.0
KEY_PLACEHOLDER = "YOUR-KEY"


class Snippets(HTMLParser):
    """The text of every `<pre><code id=…>` of a page, by its id."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, str] = {}
        self._open = ""
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre":
            self._inside = True
        elif tag == "code" and self._inside:
            self._open = dict(attrs)["id"] or ""
            self.found[self._open] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._inside = False
        if tag == "code":
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found[self._open] += data


@dataclass(frozen=True)
class Reader:
    """Somebody who copies a snippet into a folder and runs it there."""

    folder: Path
    key: str

    def run(self, command: list[str]) -> str:
        """Run a command with the key in the environment; the output, when it ends well."""
        environment = {
            **os.environ,
            "OPENAI_API_KEY": self.key,
            "LANG": "zh_CN.UTF-8",
            "GOCACHE": str(self.folder / "cache"),
        }
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            cwd=self.folder,
            env=environment,
            check=False,
        )
        assert ran.returncode == 0, f"{command}:\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def write(self, name: str, code: str) -> str:
        """The path of a new file with this code."""
        file = self.folder / name
        file.write_text(f"{code}\n", "utf-8")
        return str(file)


Run = Callable[[Reader, str], None]


def shell(expected: str) -> Run:
    """Run by a shell, which prints what fits this pattern."""

    def run(reader: Reader, code: str) -> None:
        require("curl")
        printed = reader.run(["bash", "-e", reader.write("run.sh", code)])
        assert re.search(expected, printed), printed

    return run


def exported(reader: Reader, code: str) -> None:
    """The variables that it sets are those that OpenAI's own client reads."""
    client = "from openai import OpenAI; print(OpenAI().models.list().data[0].id)"
    code = code.replace(KEY_PLACEHOLDER, reader.key)
    script = f"{code}\n{shlex.quote(sys.executable)} -c {shlex.quote(client)}"
    assert reader.run(["bash", "-e", reader.write("run.sh", script)]).strip()


def python(expected: str, *packages: str) -> Run:
    """Run by Python, of an environment with these packages or of the tests' own."""

    def run(reader: Reader, code: str) -> None:
        program = str(python_with(packages)) if packages else sys.executable
        printed = reader.run([program, reader.write("run.py", code)])
        assert re.search(expected, printed), printed

    return run


def node(expected: str) -> Run:
    """Run by Node beside OpenAI's package and axios."""

    def run(reader: Reader, code: str) -> None:
        (reader.folder / "node_modules").symlink_to(node_modules(NODE_PACKAGES))
        printed = reader.run([require("node"), reader.write("run.mjs", code)])
        assert re.search(expected, printed), printed

    return run


def typescript(reader: Reader, code: str) -> None:
    """Checked strictly and compiled, then run."""
    modules = node_modules(TYPESCRIPT)
    (reader.folder / "node_modules").symlink_to(modules)
    reader.write("package.json", '{"type": "module"}')
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    compiler = str(modules / "typescript" / "bin" / "tsc")
    reader.run([require("node"), compiler, *options, reader.write("run.ts", code)])
    assert ANSWER in reader.run([require("node"), "run.js"])


def php(reader: Reader, code: str) -> None:
    """Run by PHP with its curl extension."""
    program = require("php")
    if "curl" not in reader.run([program, "-m"]).split():
        missing("php-curl", "apt-get install -y php-curl")
    assert ANSWER in reader.run([program, reader.write("run.php", code)])


def java(reader: Reader, code: str) -> None:
    """Run as one source file."""
    assert ANSWER in reader.run([require("java"), reader.write("Chat.java", code)])


def okhttp(reader: Reader, code: str) -> None:
    """Run as one source file beside Debian's OkHttp."""
    if not all(jar.exists() for jar in JARS):
        missing("OkHttp", "apt-get install -y libokhttp-java")
    classes = ":".join(map(str, JARS))
    file = reader.write("OkHttpChat.java", code)
    assert ANSWER in reader.run([require("java"), "-cp", classes, file])


def go(reader: Reader, code: str) -> None:
    """Run as one file."""
    program = shutil.which("go") or missing("Go", "apt-get install -y golang-go")
    assert ANSWER in reader.run([program, "run", reader.write("chat.go", code)])


def picture(program: Callable[[str], Run]) -> Run:
    """The picture that it writes is the mirror's."""

    def run(reader: Reader, code: str) -> None:
        program("")(reader, code)
        assert (reader.folder / "gate.png").read_bytes() == payload(3000, seed=1)

    return run


PRESS = """
<script type="module">
document.getElementById("key").value = "{key}";
document.getElementById("ask").click();
</script>
"""


def browser(reader: Reader, code: str) -> None:
    """A page of another origin, in which somebody types his key and presses the button."""
    chromium = require("chromium")
    reader.write("index.html", code + PRESS.replace("{key}", reader.key))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    served = partial(Quiet, directory=str(reader.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            printed = reader.run(
                [
                    chromium,
                    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                    f"--user-data-dir={reader.folder / 'profile'}",
                    *("--dump-dom", "--virtual-time-budget=20000"),
                    f"http://127.0.0.1:{server.server_port}/index.html",
                ]
            )
        finally:
            server.shutdown()
            shutil.rmtree(reader.folder / "profile", ignore_errors=True)
    assert f'<p id="answer">{ANSWER}</p>' in printed, printed


def docker(reader: Reader, code: str) -> None:
    """No Docker is here: a shell reads the line, and its shape is checked, option by option."""
    script = f"docker() {{ printf '%s\\n' \"$@\"; }}\n{code}"
    run, detached, *options, image = reader.run(["bash", "-e", "-c", script]).split()
    assert (run, detached) == ("run", "-d")
    assert re.fullmatch(r"([a-z0-9.-]+/)?[a-z0-9-]+/[a-z0-9-]+(:[a-z0-9.]+)?", image), image
    pairs = list(zip(options[::2], options[1::2], strict=True))
    assert ("-e", "OPENAI_API_KEY") in pairs
    shapes = {"-e": r"[A-Z_]+(=\S+)?", "-p": r"127\.0\.0\.1:\d+:\d+", "-v": r"[a-z-]+:/\S+"}
    assert all(re.fullmatch(shapes[name], value) for name, value in pairs), pairs
    assert sum("=http://127.0.0.1:" in value for _, value in pairs) == 1


STREAM = r'"content": ?" 4"[^\n]*\n(.|\n)*data: \[DONE\]'
RUNS: Mapping[str, Run] = {
    "environment-shell-sh": exported,
    "models-curl-sh": shell('"gpt-4o-mini"'),
    "chat-curl-sh": shell(ANSWER),
    "chat-openai-py": python(ANSWER),
    "chat-requests-py": python(ANSWER),
    "chat-openai-mjs": node(ANSWER),
    "chat-fetch-mjs": node(ANSWER),
    "chat-axios-mjs": node(ANSWER),
    "chat-curl-php": php,
    "stream-curl-sh": shell(STREAM),
    "stream-openai-py": python(f"^{ANSWER}\n"),
    "stream-openai-mjs": node(f"^{ANSWER}\n"),
    "stream-browser-html": browser,
    "conversation-openai-py": python(r"When did he live\? 1 2 3 4 +\(4 \+ 5 tokens\)"),
    "conversation-openai-mjs": node(r"When did he live\? 1 2 3 4 4 5"),
    "embeddings-curl-sh": shell('"embedding": ?\\['),
    "embeddings-openai-py": python(r"\[8, 8\]"),
    "moderations-curl-sh": shell('"flagged": ?false'),
    "moderations-openai-py": python("False"),
    "images-openai-py": picture(python),
    "images-openai-mjs": picture(node),
    "legacy-chat-sh": shell('"data": ?"你好'),
    "legacy-balance-sh": shell('"balance"'),
    "status-curl-sh": shell("节点"),
    "docker-0": docker,
    "docker-1": docker,
    "docker-2": docker,
    "docker-3": docker,
}
SLOW: Mapping[str, Run] = {
    "chat-openai-0-28-py": python(ANSWER, "openai==0.28.1"),
    "chat-openai-ts": typescript,
    "chat-chat-java": java,
    "chat-okhttpchat-java": okhttp,
    "chat-chat-go": go,
}
