"""The nginx configuration of docs/apps.md that keeps a key out of a page, as it stands there."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.testkit.certs import Authority
from tests.testkit.farm import TlsMirror
from tests.testkit.http_client import CHAT, Answer, ask, connection
from tests.testkit.instance import Instance
from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

DOCUMENT = (Path(__file__).parents[2] / "docs/apps.md").read_text("utf-8")
SECTION = DOCUMENT.partition("## The key stays on the server")[2]
MAIN = """\
{user}worker_processes 1;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {site}
}}
"""
PATH = "/v1/chat/completions"
MIRRORS_KEY = "sk-of-the-mirror"
OWN = "sk-of-a-visitor"
BURST = 5


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class Site:
    """A page's origin, and what is behind it."""

    port: int
    key: str
    mirror: TlsMirror

    def ask(self, path: str = PATH, source: str = "127.0.0.1", **more: str) -> Answer:
        body = None if path.endswith("models") else CHAT
        return ask(f"http://{HOST}:{self.port}{path}", body, key="", source=source, headers=more)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    authority = Authority(folder)
    with TlsMirror("alpha", folder, authority, keys=[MIRRORS_KEY, OWN]) as mirror:
        settings = tomllib.loads(block("toml"))
        config = {
            "router": {**settings["router"], "workers": 1},
            "limits": {**settings["limits"], "requests_per_second": 0.001, "burst": BURST},
            "mirrors": [{**mirror.table(), "client_keys": [], "api_key": MIRRORS_KEY}],
        }
        with Instance(config, folder / "instance") as instance:
            created = instance.command("keys", "create", "--name", "page", check=True)
            key, port = created.stdout.strip(), free_port()
            process = nginx(folder / "nginx", port, key, instance.base_url)
            try:
                yield Site(port, key, mirror)
            finally:
                process.stop()


def nginx(folder: Path, port: int, key: str, router: str) -> Process:
    """Start it with the documented server: another port, key and router, and no TLS."""
    site = block("nginx")
    (folder / "page").mkdir(parents=True)
    (folder / "page/index.html").write_text("the page")
    for written, here in (
        ("listen 443 ssl;", f"listen {HOST}:{port};"),
        ("http://127.0.0.1:8080", router),
        ("mg-KEY", key),
        ("/var/www/chat", str(folder / "page")),
    ):
        assert site.count(written) == 1, written
        site = site.replace(written, here)
    site = re.sub(r"ssl_certificate(?:_key)? .*\n", "", site)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(user=user, site=site))
    command = [require("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = Process([*command, "-e", "stderr", "-g", "daemon off;"], folder / "nginx.log")

    def answers() -> bool:
        assert process.exit_code() is None, process.logs()
        try:
            return ask(f"http://{HOST}:{port}/", key="").body == b"the page"
        except OSError:
            return False

    wait_until(answers, 60.0, "nginx to answer")
    return process


def test_a_page_needs_no_key_and_sees_none(site: Site) -> None:
    answers = [site.ask(), site.ask("/v1/models")]
    assert [answer.status for answer in answers] == [200, 200]
    for answer in answers:
        for secret in (site.key, MIRRORS_KEY):
            assert secret not in f"{answer.headers}{answer.body!r}"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "field", ["Authorization", "X-Api-Key", "Api-Key", "Mj-Api-Secret", "X-Goog-Api-Key", "Cookie"]
)
def test_a_visitors_own_key_does_not_get_through(site: Site, field: str) -> None:
    source = f"127.0.1.{len(field)}"
    assert site.ask(source=source, **{field: f"Bearer {OWN}", "x-test-id": field}).status == 200
    assert site.ask(f"{PATH}?key={OWN}", source, **{"x-test-id": field}).status == 200
    seen = [one for one in site.mirror.mirror.seen() if one.header("x-test-id") == field]
    assert [one.key for one in seen] == [MIRRORS_KEY] * 2
    assert OWN not in f"{[(one.path, one.headers) for one in seen]}"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files",
        "/v1/chat/completions/x",
        "/v1/chat/completions/../../files",
        "/v1/%66iles",
        "/dashboard/billing/usage",
        "/healthz",
        "/pro/balance",
    ],
)
def test_other_paths_do_not_reach_the_router(site: Site, path: str) -> None:
    answer = site.ask(path)
    assert answer.status in (404, 405)
    assert not [name for name in answer.headers if name.startswith("x-mirrorgate")]


def test_another_spelling_of_a_path_reaches_the_router_as_what_it_is(site: Site) -> None:
    spelled = {"x-test-id": "spelled"}
    assert site.ask("/v1/files/%2e%2e/chat/completions", "127.0.4.1", **spelled).status == 200
    (seen,) = [one for one in site.mirror.mirror.seen() if one.header("x-test-id") == "spelled"]
    assert seen.path == PATH


def test_pages_of_other_origins_are_refused(site: Site) -> None:
    assert site.ask(**{"Sec-Fetch-Site": "cross-site"}).status == 403
    own = {"Sec-Fetch-Site": "same-origin", "Origin": "https://chat.example.com"}
    assert site.ask(source="127.0.4.2", **own).status == 200
    for origin in ("https://elsewhere.example", "https://chat.example.com.elsewhere", "null"):
        assert site.ask(Origin=origin).status == 403, "a browser that does not say Sec-Fetch-Site"
    asking = connection(f"http://{HOST}:{site.port}")
    asking.request("OPTIONS", PATH, headers={"Origin": "https://elsewhere.example"})
    assert asking.getresponse().status == 403
    asking.close()


def test_limits_are_of_the_visitor_not_of_nginx(site: Site) -> None:
    forged = ({"X-Forwarded-For": f"203.0.113.{n}", "Forwarded": "for=9.9.9.9"} for n in range(20))
    statuses = [site.ask(source="127.0.2.1", **fields).status for fields in forged]
    assert (statuses[:BURST], set(statuses[BURST + 1 :])) == ([200] * BURST, {429})
    assert site.ask(source="127.0.2.2").status == 200


def test_a_stream_comes_as_it_is_written(site: Site) -> None:
    site.mirror.mirror.behave(stall_after=1)
    asking = connection(f"http://{HOST}:{site.port}", "127.0.3.1")
    try:
        body = json.dumps({**CHAT, "stream": True})
        asking.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = asking.getresponse()
        while b'"content": "hello' not in (line := answer.readline()):
            assert line, "it ended"
    finally:
        asking.close()
        site.mirror.mirror.behave(stall_after=None)
