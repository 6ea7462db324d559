"""`make demo`: mirrorgate with five pretend mirrors, where everything moves, without internet.

One mirror is good, one slow, one fails now and then and goes away for a while, one is blocked by
its name (a censor resets the connection as soon as the ClientHello names it, and everything to that
address for some seconds more), one sits behind a "CDN".
The ninety days before are pretended too (`pretended_past.py`).
A little traffic runs through the router all the time, some of it by the legacy interface. Now and
then a crowd asks for the model that only the mirror behind the CDN has, and waits in the queue.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from dashboard.admin.passwords import hashed
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import RST, Residual, Rule, exactly
from tests.testkit.certs import Authority
from tests.testkit.mirror.answers import DEFAULT_MODELS
from tests.testkit.mirror.behaviour import Behaviour
from tests.testkit.mirror.server import PretendMirror
from tests.testkit.pretended_past import Life, Outage, fill

API, STATUS, ADMIN = 18080, 18081, 18082
KEY = "sk-demo"
PASSWORD = "demo-password"
ABSENT, PRESENT = 12.0, 25.0
"""Seconds that the unsteady mirror is away and there, in turns."""
VALID_DAYS = 62
REMEMBERED = 10.0
"""Seconds for which the censor cuts off everything after it has read the blocked name."""

_CDN = {"server": "cloudflare", "cf-ray": "8f0c1d2e3f4a5b6c-HKG"}
_CONFIG = """
[router]
listen = "127.0.0.1:{api}"
workers = 2
callers = ["own", "issued", "anonymous"]
cors_origins = []
legacy = true

[monitor]
interval = "2s"
residual = "12s"
vantage = "demo"

[dashboard]
listen = "127.0.0.1:{status}"
title = "mirrorgate demo"
notice = {{ zh = "这是演示：所有镜像都在本机。", en = "A demo: every mirror is on this machine." }}
entrances = [{{ url = "http://127.0.0.1:{api}/v1", region = "本机", cdn = false }}]

[admin]
listen = "127.0.0.1:{admin}"
password_hash = "{password_hash}"

[store]
url = "{store}"
"""
_MIRROR = """
[[mirrors]]
id = "{id}"
name = "{name}"
region = "{region}"
url = "https://{host}:{port}"
addresses = ["127.0.0.1"]
ca_file = "ca.pem"
cdn = {cdn}
api_key = "{key}"
models = {models}
max_requests_per_second = {most}
"""
_MODELS = tuple(DEFAULT_MODELS)
_RARE = "claude-3-5-sonnet"
_CROWD, _CROWDS_EVERY = 8, 9.0
"""Requests at once for the rare model, and seconds between two such crowds."""

LIVES = (
    Life(
        "hk",
        (3, 31, 64, 180),
        (Outage(33.2, 14, "tls_reset", 4), Outage(12.4, 6, "ip_unreachable")),
    ),
    Life(
        "jp-slow",
        (4, 58, 121, 820),
        (Outage(60.1, 60, "upstream_overloaded"),),
        slow=((5.3, 3), (21, 6)),
        evening=0.9,
    ),
    Life(
        "sg-unsteady",
        (4, 45, 96, 260),
        tuple(Outage(ago, 9 + ago % 7, "connection_refused", 3) for ago in (2.3, 6.7, 17.1, 44.6)),
    ),
    Life("us-cdn", (2, 12, 40, 230), maintenance=((28, 2),), cdn="cloudflare", evening=0.2),
    Life(
        "blocked",
        (5, 40, 90, 240),
        (Outage(9.3, 180, "sni_block_rst", 2), Outage(41, 600, "sni_block_rst")),
        since=52,
    ),
)
"""The ninety days before the demo, of its mirrors."""

_PATIENCE = aiohttp.ClientTimeout(total=10)


@contextlib.asynccontextmanager
async def farm(directory: Path) -> AsyncIterator[tuple[PretendMirror, str]]:
    """The mirrors: the unsteady one, and the [[mirrors]] of a configuration."""
    authority = Authority(directory)
    ends = datetime.now(UTC) + timedelta(days=VALID_DAYS)
    tls = authority.issue("*.mirror.test", not_after=ends).server_context()
    good = PretendMirror("hk", keys=[KEY], tls=tls)
    unsteady = PretendMirror("unsteady", keys=[KEY], tls=tls, behaviour=Behaviour(status=500))
    mirrors = {
        ("hk", "香港", "香港", "false"): good,
        ("jp-slow", "日本（慢）", "日本", "false"): PretendMirror(
            "jp-slow", keys=[KEY], tls=tls, behaviour=Behaviour(latency=0.8)
        ),
        ("sg-unsteady", "新加坡（不稳定）", "新加坡", "false"): unsteady,
        ("us-cdn", "美国 CDN", "美国", "true"): PretendMirror(
            "us-cdn",
            keys=[KEY],
            tls=tls,
            headers=_CDN,
            behaviour=Behaviour(models=(*_MODELS, _RARE), latency=0.4),
        ),
    }
    await unsteady.behave(status=500, every=5, only="/v1/chat")
    rule = Rule(exactly("blocked.mirror.test"), RST, residual=Residual(REMEMBERED))
    async with contextlib.AsyncExitStack() as stack:
        censor = await stack.enter_async_context(Censor([rule]))
        tables = []
        for (name, label, region, cdn), mirror in mirrors.items():
            await stack.enter_async_context(mirror)
            tables.append(_table(name, label, region, mirror.port, cdn))
        port = await censor.listen(["127.0.0.1"], ("127.0.0.1", good.port))
        tables.append(_table("blocked", "被封锁（SNI）", "香港", port, "false"))
        yield unsteady, "".join(tables)


def _table(name: str, label: str, region: str, port: int, cdn: str) -> str:
    host = f"{name}.mirror.test"
    models, most = ([*_MODELS, _RARE], 5) if cdn == "true" else ([*_MODELS], 0)
    return _MIRROR.format(
        id=name,
        name=label,
        region=region,
        host=host,
        port=port,
        cdn=cdn,
        key=KEY,
        models=json.dumps(models),
        most=most,
    )


async def come_and_go(mirror: PretendMirror) -> None:
    """The unsteady mirror refuses connections for a while, again and again."""
    while True:
        await asyncio.sleep(PRESENT)
        await mirror.behave(listener="refuse")
        await asyncio.sleep(ABSENT)
        await mirror.behave(listener="serve")


async def traffic() -> None:
    """A few requests a second, some of them streamed, and some messages to the legacy chat."""
    root = f"http://127.0.0.1:{API}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        turn = 0
        while True:
            turn += 1
            body = {"model": "gpt-4o", "stream": turn % 2 == 0, "messages": []}
            url = f"{root}/v1/chat/completions"
            if turn % 10 == 0:
                body = {"apiKey": KEY, "sessionId": "demo", "content": f"message {turn}"}
                url = f"{root}/pro/chat/completions"
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(url, json=body, timeout=_PATIENCE) as answer:
                    await answer.read()
            await asyncio.sleep(0.3)


async def crowds() -> None:
    """A crowd asks for the rare model, again and again: most of it waits for a moment."""
    url = f"http://127.0.0.1:{API}/v1/chat/completions"
    body = {"model": _RARE, "messages": []}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def ask() -> None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(url, json=body, timeout=_PATIENCE) as answer:
                    await answer.read()

        while True:
            await asyncio.gather(*(ask() for _ in range(_CROWD)))
            await asyncio.sleep(_CROWDS_EVERY)


async def greet(lines: asyncio.StreamReader) -> None:
    """Show what mirrorgate says about itself, with the key that the pretend mirrors take."""
    async for line in lines:
        print(line.decode().replace("$OPENAI_API_KEY", KEY), end="", flush=True)


async def run() -> int:
    """Run until interrupted; mirrorgate's exit code."""
    with tempfile.TemporaryDirectory(prefix="mirrorgate-demo-") as name:
        directory = Path(name)
        async with farm(directory) as (unsteady, mirrors):
            config = directory / "config.toml"
            store = f"sqlite:///{directory / 'demo.db'}"
            fill(store, LIVES, "demo", time.time())
            ports = {"api": API, "status": STATUS, "admin": ADMIN}
            text = _CONFIG.format(**ports, password_hash=hashed(PASSWORD), store=store)
            config.touch(0o600)  # as `mirrorgate doctor` wants it where there are keys
            config.write_text(text + mirrors, encoding="utf-8")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "router", "run", "--config", str(config)),
                process_group=0,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            greeting = asyncio.create_task(greet(process.stdout))
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, process.send_signal, signal.SIGTERM)
            moving = (come_and_go(unsteady), traffic(), crowds())
            tasks = [greeting, *(loop.create_task(each) for each in moving)]
            try:
                return await process.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    print(
        f"The demo runs until Ctrl-C. Its status page will be at http://127.0.0.1:{STATUS}/ "
        f"(pid {os.getpid()}), the operators' desk at http://127.0.0.1:{ADMIN}/admin/, password "
        f"{PASSWORD}. The models of all mirrors:\n"
        f"  curl http://127.0.0.1:{API}/v1/models\n"
        "A queue, whose places are in x-mirrorgate-queue:\n"
        f"  for i in $(seq 9); do curl -s -o /dev/null -D - http://127.0.0.1:{API}/v1/chat/completions"
        f' -H \'Authorization: Bearer {KEY}\' --json \'{{"model": "{_RARE}", "messages": []}}\''
        " | grep -i x-mirrorgate-queue & done; wait\n"
        "Of older relays it has:\n"
        f"  curl http://127.0.0.1:{API}/pro/chat/completions"
        f" -d apiKey={KEY} -d sessionId=1 -d content=你好\n"
        f"  curl http://127.0.0.1:{API}/pro/balance -H 'Authorization: Bearer {KEY}'"
    )
    sys.exit(asyncio.run(run()))
