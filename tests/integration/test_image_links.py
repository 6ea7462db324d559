"""Images on a mirror's own host, for visitors who can reach this router only."""

from __future__ import annotations

import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from router.upstream.image_links import LIFETIME
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import UPGRADE, Response, ScriptedMirror, get, post, read_request

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100
CALLERS = {"callers": ["own"]}


class ImageMirror:
    """A mirror that keeps the images that it makes, and says where in a JSON body."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.links: list[str] = []
        self.fields = self.image = self.submitted = b""
        """More fields of answers, and whole answers instead of an image and to a submission."""

    async def answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            self.seen.append(head)
            scripted = self.submitted if b"/submit/" in head else self.image
            if scripted and (b"/submit/" in head or head.startswith(b"GET")):
                writer.write(scripted)
                await writer.drain()
                continue
            told, kind = PNG, b"image/png"
            if head.startswith((b"POST", b"GET /mj/task")):
                data = [{"url": link} for link in self.links]
                told = json.dumps({"created": 1, "data": data}).replace("&", "\\u0026").encode()
                kind = b"application/json"
            head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b"
            writer.write(head % (kind, self.fields, len(told), told))
            await writer.drain()


@asynccontextmanager
async def gallery(
    *, at: float = 1e9, path: str = "", router: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[DataPlane, ImageMirror]]:
    """A plane with a mirror that has images; `path`: of its URL."""
    made = ImageMirror()
    async with (
        ScriptedMirror(made.answer, "a") as mirror,
        ScriptedMirror(made.answer, "b") as other,
    ):
        table = mirror.table(**{"relay_images": True} | more)
        table["url"] += path
        settings = CALLERS | {"forward": ["/v1/", "/mj/"]} | (router or {})
        away = other.table(client_keys=["none"])
        async with DataPlane([table, away], settings, wall=lambda: at) as plane:
            plane.context.keys.season("01" * 32)
            made.links = [f"http://127.0.0.1:{mirror.port}/files/1.png?sig=a&b=%2F"]
            yield plane, made


def urls(answer: Response) -> list[str]:
    return [each["url"] for each in json.loads(answer.body)["data"]]


def target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.mark.parametrize(
    "request_", [post("/v1/images/generations"), get("/mj/task/1/fetch")], ids=["images", "mj"]
)
async def test_an_image_is_fetched_through_the_router_without_a_key(request_: bytes) -> None:
    async with gallery() as (plane, mirror):
        answer = await plane.ask(request_)
        (url,) = urls(answer)
        assert url.startswith("http://test/relayed/a/")
        image = await plane.ask(
            b"GET %b HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer sk-mine\r\n\r\n"
            % target(url).encode()
        )
        assert (image.status, image.body) == (200, PNG)
        assert "sandbox" in image["content-security-policy"]
        assert image["x-content-type-options"] == "nosniff"
        sent = mirror.seen[-1]
        assert sent.startswith(b"GET /files/1.png?sig=a&b=%2F HTTP/1.1\r\n")
        assert b"sk-mine" not in sent


async def test_links_are_asked_for_uncompressed_and_kept_apart_from_the_mirrors_path() -> None:
    async with gallery(path="/openai") as (plane, mirror):
        asked = post("/v1/images/edits").replace(b"Host", b"Accept-Encoding: gzip\r\nHost")
        (url,) = urls(await plane.ask(asked))
        assert mirror.seen[-1].startswith(b"POST /openai/v1/images/edits ")
        assert b"gzip" not in mirror.seen[-1]
        await plane.ask(get(target(url)))
        assert mirror.seen[-1].startswith(b"GET /files/1.png")


async def test_nothing_else_of_a_mirror_is_opened_by_a_link() -> None:
    async with gallery() as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        good, before = target(url), len(mirror.seen)
        other = [
            good.replace("1.png", "2.png"),
            good + "&more=1",
            good.replace("/relayed/a/", "/relayed/b/"),
            good.replace("-", "-0", 1),
            "/relayed/a/ffffffff-" + "0" * 32 + "/v1/models",
            good.replace(good.split("/")[3][:8], "ffffffff"),
        ]
        for tried in other:
            answer = await plane.ask(get(tried))
            assert (answer.status, answer.error["code"]) == (404, "unknown_url"), tried
            assert "ask for the image again" in answer.error["message"]
        wrong = await plane.ask(post(good))
        assert wrong.status == 404
        assert len(mirror.seen) == before


async def test_a_link_ends_after_a_day() -> None:
    now = [1e9]
    async with gallery() as (plane, _):
        plane.context.wall = lambda: now[0]
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        now[0] += LIFETIME - 1
        assert (await plane.ask(get(target(url)))).status == 200
        now[0] += 2
        assert (await plane.ask(get(target(url)))).status == 404


async def test_the_image_of_a_mirror_that_is_gone_is_asked_of_no_other() -> None:
    async with gallery() as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        before = len(mirror.seen)
        gone = plane.config([each for each in plane.mirrors if each["id"] == "b"])
        plane.context.configure(gone, plane.context.snapshot)
        answer = await plane.ask(get(target(url)))
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        assert len(mirror.seen) == before


@pytest.mark.parametrize("change", [{"relay_images": False}, {"url": "http://127.0.0.1:{other}"}])
async def test_a_link_ends_with_what_its_operator_has_decided(change: dict[str, Any]) -> None:
    async with gallery() as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        before = len(mirror.seen)
        one, other = plane.mirrors
        told = {
            name: str(value).format(other=urlsplit(other["url"]).port) if name == "url" else value
            for name, value in change.items()
        }
        plane.context.configure(plane.config([{**one, **told}, other]), plane.context.snapshot)
        assert (await plane.ask(get(target(url)))).status == 404
        assert len(mirror.seen) == before


@pytest.mark.parametrize("path", ["/i/一只 猫.png", "/i/a b.png?x=猫"])
async def test_a_name_in_any_script_is_escaped(path: str) -> None:
    async with gallery() as (plane, mirror):
        mirror.links = [urlsplit(mirror.links[0])._replace(path="", query="").geturl() + path]
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        assert (await plane.ask(get(target(url)))).body == PNG
        asked = mirror.seen[-1].split(b" ")[1].decode()
        assert unquote(asked) == path


@pytest.mark.parametrize("router", [{"forward": ["/"]}, {"forward": ["/mj/", "/v1/"]}])
async def test_links_open_whatever_else_is_forwarded(router: dict[str, Any]) -> None:
    async with gallery(router=router) as (plane, _):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        assert url.startswith("http://test/relayed/")
        assert (await plane.ask(get(target(url)))).body == PNG


@pytest.mark.parametrize(
    "fault",
    [
        b"HTTP/1.1 429 x\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 x\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n"
        b'{"error": {"code": "insufficient_quota"}}     ',
        b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 x\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    ],
    ids=["429", "spent", "500", "502"],
)
async def test_images_that_fail_take_the_mirror_from_nobody(fault: bytes) -> None:
    callers = {"callers": ["own", "issued", "anonymous"], "cors_origins": []}
    async with gallery(router=callers, api_key="sk-mirror-key") as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        mirror.image = fault
        for _ in range(12):
            await plane.ask(get(target(url)))
        mirror.links = []
        anonymous = post("/v1/images/generations").replace(b"Authorization: Bearer sk-x\r\n", b"")
        for asked in (anonymous.replace(b"Host: test", b"Host: localhost"), post("/v1/embeddings")):
            answer = await plane.ask(asked)
            assert (answer.status, answer["x-mirrorgate-mirror"]) == (200, "a")
        assert plane.suspected == plane.refused == []


async def test_a_link_is_no_tunnel_and_brings_no_body() -> None:
    async with gallery() as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        before = len(mirror.seen)
        assert (await plane.ask(get(target(url), *UPGRADE))).status == 404
        assert (await plane.ask(get(target(url), "Content-Length: 1") + b"x")).status == 404
        assert len(mirror.seen) == before


@pytest.mark.parametrize(
    ("location", "led"),
    [
        ("/i/2.png", "http://test/relayed/a/"),
        ("2.png", "http://test/relayed/a/"),
        ("http://127.0.0.1:{port}/i/2.png", "http://test/relayed/a/"),
        ("https://cdn.example.com/2.png", "https://cdn.example.com/2.png"),
    ],
)
async def test_a_redirect_stays_on_the_relay(location: str, led: str) -> None:
    async with gallery() as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        told = location.format(port=urlsplit(mirror.links[0]).port).encode()
        mirror.image = b"HTTP/1.1 302 x\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % told
        answer = await plane.ask(get(target(url)))
        assert answer["location"].startswith(led)
        if "relayed" in led:
            mirror.image = b""
            assert (await plane.ask(get(target(answer["location"])))).body == PNG
            assert mirror.seen[-1].split(b" ")[1].endswith(b"/2.png")


async def test_a_mirror_learns_nothing_of_who_looks_at_its_images() -> None:
    async with gallery() as (plane, mirror):
        (url,) = urls(await plane.ask(post("/v1/images/generations")))
        told = ("Referer: https://app.example/secret", "x-goog-api-key: k", "Range: bytes=0-9")
        await plane.ask(get(target(url), *told))
        assert b"Range: bytes=0-9" in mirror.seen[-1]
        for hidden in (b"secret", b"x-goog-api-key", b"sk-x"):
            assert hidden not in mirror.seen[-1]


async def test_fields_of_the_mirrors_own_body_do_not_pass_with_another_one() -> None:
    async with gallery() as (plane, mirror):
        mirror.fields = b"ETag: x\r\nContent-MD5: x\r\nX-Kept: x\r\n"
        answer = await plane.ask(post("/v1/images/generations"))
        assert "x-kept" in answer
        assert "etag" not in answer
        assert "content-md5" not in answer


async def test_bodies_of_another_interface_that_are_no_json_pass_unchanged() -> None:
    async with gallery() as (plane, mirror):
        page = b"<html>done</html>"
        mirror.submitted = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(page), page)
        )
        answer = await plane.ask(post("/mj/submit/imagine"))
        assert (answer.status, answer.body) == (200, page)


@pytest.mark.parametrize(
    "link",
    [
        "https://cdn.example.com/x.png",
        "http://127.0.0.1:1/x.png",
        "http://user@127.0.0.1:{port}/x.png",
        "//127.0.0.1:{port}/x.png",
        "http://127.0.0.1/x.png",
        "http://127.0.0.1:{port}/../x.png",
        "http://127.0.0.1:{port}/x.png#part",
        "http://127.0.0.1.example.com:{port}/x.png",
        "ftp://127.0.0.1:{port}/x.png",
    ],
)
async def test_links_elsewhere_pass_as_they_are(link: str) -> None:
    async with gallery() as (plane, mirror):
        told = link.format(port=urlsplit(mirror.links[0]).port)
        mirror.links = [told]
        assert urls(await plane.ask(post("/v1/images/generations"))) == [told]


async def test_only_answers_about_images_are_touched_and_only_where_it_is_set() -> None:
    async with gallery() as (plane, mirror):
        assert urls(await plane.ask(post("/v1/embeddings"))) == mirror.links
    async with gallery(relay_images=False) as (plane, mirror):
        assert urls(await plane.ask(post("/v1/images/generations"))) == mirror.links


async def test_links_name_the_address_by_which_the_client_called() -> None:
    proxied = {"trusted_proxies": ["private"]}
    async with gallery(router=proxied) as (plane, _):
        asked = post("/v1/images/generations").replace(b"Host", b"X-Forwarded-Proto: https\r\nHost")
        (url,) = urls(await plane.ask(asked))
        assert url.startswith("https://test/relayed/")
    async with gallery() as (plane, _):
        (url,) = urls(await plane.ask(asked))
        assert url.startswith("http://test/relayed/"), "nobody else is believed"
        named = {"entrances": ["https://api.example.com/openai/v1"]}
        plane.more = named
        plane.context.configure(plane.config(plane.mirrors), plane.context.snapshot)
        (url,) = urls(await plane.ask(asked))
        assert url.startswith("https://api.example.com/openai/relayed/")
