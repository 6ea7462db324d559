"""A web page of another origin calls the router in a real browser: CORS, streams, images."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import async_playwright

from tests.testkit.dashboard import serving_at
from tests.testkit.data_plane import DataPlane
from tests.testkit.programs import require
from tests.testkit.raw_http import ScriptedMirror, read_request

pytestmark = pytest.mark.e2e

FORGED = (
    b"Access-Control-Allow-Origin: https://mirror.example\r\n"
    b"Access-Control-Allow-Credentials: true\r\n"
    b"x-ratelimit-remaining-requests: 7\r\nx-request-id: req_of_mirror\r\n"
)
"""A mirror's own CORS fields: two origins in one response are refused by browsers."""
WORDS = ("你", "好", "!")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da63fcff1f0003030200ef9b76550000000049454e44ae426082"
)
ASK = """
async ({url, body, fields}) => {
  const answer = await fetch(url, {method: "POST", body: JSON.stringify(body), headers: {
    "Content-Type": "application/json", "Authorization": "Bearer sk-x", ...fields}});
  const text = await answer.text();
  return {status: answer.status, text, fields: Object.fromEntries(answer.headers)};
}"""
STREAM = """
async ({url, body}) => {
  const answer = await fetch(url, {method: "POST", body: JSON.stringify(body), headers: {
    "Content-Type": "application/json", "Authorization": "Bearer sk-x"}});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", pieces = 0;
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return {text, pieces};
    text += value; pieces += 1;
    if (pieces === 1) await fetch("/go-on");
  }
}"""
PROGRESS = """
({url, body}) => new Promise((resolve) => {  // as axios does it in a browser
  const request = new XMLHttpRequest();
  const shown = [], faults = [];
  request.open("POST", url);
  request.setRequestHeader("Content-Type", "application/json");
  request.setRequestHeader("Authorization", "Bearer sk-x");
  window.progress = 0;
  request.onprogress = () => {
    window.progress += 1;
    try {
      shown.length = 0;
      for (const piece of request.responseText.trim().split("\\n\\n")) {
        const data = piece.split("data:", 2)[1].trim();
        if (data !== "[DONE]") shown.push(JSON.parse(data).choices[0].delta.content ?? "");
      }
    } catch (error) { faults.push(String(error)); }
  };
  request.onload = () => resolve({shown, faults, text: request.responseText});
  request.onerror = () => resolve({shown, faults: ["network"], text: ""});
  request.send(JSON.stringify(body));
})"""


class Mirror:
    """A mirror that streams word by word, makes images and refuses."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            if head.startswith(b"GET"):
                _write(writer, 200, b"image/png", PIXEL)
            elif b"images" in head:
                link = f"http://127.0.0.1:{self.port}/made/1.png"
                _write(
                    writer, 200, b"application/json", json.dumps({"data": [{"url": link}]}).encode()
                )
            elif b"refuse" in body:
                error = {"error": {"message": "no such thing", "type": "invalid_request_error"}}
                _write(writer, 400, b"application/json", json.dumps(error).encode())
            else:
                await self._stream(writer, thinks=b"think" in body)
            await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, *, thinks: bool) -> None:
        if thinks:
            await self.may_go_on.wait()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b"
            b"Transfer-Encoding: chunked\r\n\r\n" % FORGED
        )
        for word in WORDS:
            event = json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]})
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await self.may_go_on.wait()
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def _write(writer: asyncio.StreamWriter, status: int, kind: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 %d x\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n"
    writer.write(head % (status, kind, FORGED, len(body)) + body)


@asynccontextmanager
async def page_of(origins: list[str] | None = None) -> AsyncIterator[tuple[Any, str, list[str]]]:
    """A page of an origin of its own, the router's base URL, and what the console said."""
    chromium, mirror, said = require("chromium"), Mirror(), []

    async def go_on(_: web.Request) -> web.Response:
        mirror.may_go_on.set()
        return web.Response(text="")

    app = web.Application()
    app.router.add_get("/", _page)
    app.router.add_get("/go-on", go_on)
    router = {"stream": {"keepalive": "1s"}, "cors_origins": origins or ["*"]}
    async with (
        ScriptedMirror(mirror.answer) as scripted,
        DataPlane([scripted.table(relay_images=True)], router) as plane,
        serving_at(app) as origin,
        async_playwright() as driver,
    ):
        mirror.port = scripted.port
        plane.context.keys.season("01" * 32)
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(origin)
        try:
            yield page, f"http://127.0.0.1:{plane.port}", said
        finally:
            await browser.close()


async def _page(_: web.Request) -> web.Response:
    return web.Response(
        text="<!DOCTYPE html><title>app</title><link rel=icon href='data:,'>",
        content_type="text/html",
    )


def words_of(stream: str) -> list[str]:
    events = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    return [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events]


def chat(content: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}


async def test_a_page_of_another_origin_streams_reads_fields_errors_and_images() -> None:
    async with page_of() as (page, router, said):
        url = f"{router}/v1/chat/completions"
        streamed = await page.evaluate(STREAM, {"url": url, "body": chat(stream=True)})
        assert words_of(streamed["text"]) == list(WORDS)
        assert streamed["pieces"] > 1, "the first word is read before the second is sent"
        fields = {"x-stainless-os": "browser", "OpenAI-Beta": "assistants=v2"}
        refused = await page.evaluate(ASK, {"url": url, "body": chat("refuse"), "fields": fields})
        assert (refused["status"], "no such thing" in refused["text"]) == (400, True)
        shown = refused["fields"]
        assert shown["x-mirrorgate-mirror"] == "a"
        assert shown["x-mirrorgate-request-id"].startswith("mg_")
        assert shown["x-ratelimit-remaining-requests"] == "7"
        assert shown["x-request-id"] == "req_of_mirror"
        lost = await page.evaluate(ASK, {"url": f"{router}/nowhere", "body": {}, "fields": fields})
        assert (lost["status"], "The base URL is" in lost["text"]) == (404, True)
        made = await page.evaluate(
            ASK, {"url": f"{router}/v1/images/generations", "body": {"prompt": "x"}, "fields": {}}
        )
        link = json.loads(made["text"])["data"][0]["url"]
        assert link.startswith(f"{router}/relayed/a/")
        drawn = "(url) => new Promise((done) => { const image = new Image();"
        drawn += " image.onload = () => done(image.naturalWidth); image.onerror = () => done(0);"
        assert await page.evaluate(f"{drawn} image.src = url; }})", link) == 1
        assert [line for line in said if "400" not in line and "404" not in line] == []


async def test_a_reader_of_progress_takes_keepalives_and_shows_each_word() -> None:
    async with page_of() as (page, router, said):
        url = f"{router}/v1/chat/completions"
        reading = asyncio.ensure_future(
            page.evaluate(PROGRESS, {"url": url, "body": chat("think", stream=True)})
        )
        await page.wait_for_function("() => window.progress > 1")
        await page.evaluate('() => fetch("/go-on")')
        told = await reading
        assert told["faults"] == []
        waited, _, _ = told["text"].partition("\n\n")
        assert '"delta": {}' in waited, "it was told something while the mirror was silent"
        assert [word for word in words_of(told["text"]) if word] == list(WORDS)
        assert [word for word in told["shown"] if word] == list(WORDS)
        assert said == []


async def test_an_origin_that_is_not_allowed_reads_nothing() -> None:
    async with page_of(["https://app.example.com"]) as (page, router, said):
        asked = {"url": f"{router}/v1/chat/completions", "body": chat("refuse"), "fields": {}}
        caught = await page.evaluate(
            f"async (asked) => {{ try {{ await ({ASK.strip()})(asked); }}"
            " catch (error) { return String(error); } }",
            asked,
        )
        assert "Failed to fetch" in caught
        assert any("CORS" in line for line in said)
