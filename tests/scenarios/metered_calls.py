"""Requests of many kinds with issued keys, and the comparison of the two accounts of them: what the
mirrors billed, and what mirrorgate charged."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp

from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

AMOUNTS = ("input_tokens", "cached_tokens", "output_tokens", "images", "audio_ms", "characters")
PRICES: dict[str, dict[str, float]] = {
    "gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10},
    "gpt-4o-*": {"input": 0.15, "output": 0.6},
    "emb": {"input": 0.02},
    "dall-e-3": {"image": 0.04},
    "tts-1": {"characters": 15},
    "whisper-1": {"audio_minute": 0.006},
    "free": {},
}
_OF_MODEL = {**PRICES, "gpt-4o-mini": PRICES["gpt-4o-*"]}
TEXT = ("chat/completions", "completions", "responses", "messages")
FAULTS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {},
    {"events": 3},
    {"compress": True},
    {"status": 500},
    {"status": 400},
    {"cut_after": 2},
    {"cut_after": 2, "cut": "close"},
)
"""What mirrors do of a request, besides what they do of themselves."""
ALIKE = "chat/completions", {"model": "gpt-4o", "messages": [{"content": "one"}]}
LEFT = 5
"""Streams that are left before their end."""
Account = dict[tuple[str, str], Counter[str]]
"""By key and model."""


@dataclass
class Key:
    """An issued key."""

    id: str
    key: str = field(repr=False)


def config(mirrors: Iterable[MirrorProcess], workers: int = 2) -> dict[str, Any]:
    """A configuration whose mirrors lend their keys, with prices."""
    tables = [
        {"id": m.name, "url": m.base_url, "addresses": ["127.0.0.1"], "api_key": "sk-mirrors-own"}
        for m in mirrors
    ]
    return {
        "router": {"workers": workers, "ejection": {"max_percent": 0}},
        "mirrors": tables,
        "prices": PRICES,
    }


@contextmanager
def farm(directory: Path) -> Iterator[tuple[Instance, list[MirrorProcess]]]:
    """An instance before two mirrors: one that is well, and one that fails now and then."""
    with (
        MirrorProcess("alpha", directory, keys=["*"]) as alpha,
        MirrorProcess("beta", directory, keys=["*"], status=503, every=4) as beta,
        Instance(config([alpha, beta]), directory / "instance") as instance,
    ):
        yield instance, [alpha, beta]


def create(instance: Instance, name: str, *arguments: str) -> Key:
    """Issue a key."""
    ran = instance.command("keys", "create", "--name", name, *arguments, "--json", check=True)
    made = json.loads(ran.stdout)
    return Key(made["id"], made["key"])


class Callers:
    """Clients that use keys in all ways there are."""

    def __init__(
        self, instance: Instance, keys: Sequence[Key], rng: random.Random, *, alike: bool = False
    ) -> None:
        """`alike`: all ask the same, and mirrors answer well."""
        self._url = f"{instance.base_url}/v1"
        self._keys = keys
        self._rng = rng
        self._alike = alike
        self.statuses: Counter[int] = Counter()
        """Of what was answered; 0: broken off."""
        self._seconds: Counter[int] = Counter()
        self.leaks = 0
        """Streams that had a word on use that their client had not asked for."""

    async def ask(self, many: int, at_once: int) -> None:
        """Ask so often, so many at the same time."""
        turns = iter(range(many))
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as client:

            async def one_after_the_other() -> None:
                for _ in turns:
                    await self._one(client)

            await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))

    async def leave(self, key: Key, many: int) -> None:
        """Leave as many streams after their second event, in which the mirror falls silent."""
        silent = {"stall_after": 2, "status": 0, "every": 1}
        behaviour = {"x-test-behaviour": json.dumps(silent)}
        body = {"model": "gpt-4o", "messages": [{"content": "a b"}], "stream": True}
        async with aiohttp.ClientSession() as client:
            for _ in range(many):
                sent = self._headers(key) | behaviour
                url = f"{self._url}/chat/completions"
                async with client.post(url, json=body, headers=sent) as answer:
                    assert answer.status == 200, await answer.text()
                    seen = b""
                    while seen.count(b"data:") < 3:  # a role, and two pieces
                        assert not answer.content.at_eof(), seen
                        seen += await answer.content.readany()
                    answer.close()

    def _headers(self, key: Key) -> dict[str, str]:
        return {"authorization": f"Bearer {key.key}", "x-test-label": key.id}

    async def _one(self, client: aiohttp.ClientSession) -> None:
        rng = self._rng
        path, body = self._request() if not self._alike else ALIKE
        fault = rng.choice(FAULTS) if not self._alike else {"status": 0}
        headers = self._headers(rng.choice(self._keys)) | {"x-test-behaviour": json.dumps(fault)}
        more: dict[str, Any] = {"data": _form(rng)} if body is None else {"json": body}
        status = 0
        with suppress(aiohttp.ClientError):
            url = f"{self._url}/{path}"
            async with client.post(url, headers=headers, **more) as answer:
                text = await answer.read()
                status = answer.status
            self._look(path, body, text)
        self.statuses[status] += 1
        self._seconds[int(time.monotonic())] += 1

    @property
    def most_in_a_second(self) -> int:
        """Number of requests that ended in the busiest second."""
        return max(self._seconds.values(), default=0)

    def _look(self, path: str, body: Mapping[str, Any] | None, text: bytes) -> None:
        if body is not None and path in TEXT[:2] and body.get("stream"):
            wished = "stream_options" in body
            self.leaks += not wished and b'"usage": {' in text

    def _request(self) -> tuple[str, dict[str, Any] | None]:
        rng = self._rng
        kind = rng.randrange(12)
        words = " ".join(["word"] * rng.randint(1, 30))
        if kind < 7:
            return rng.choice(TEXT), self._text(words)
        if kind == 7:
            return "embeddings", {"model": "emb", "input": words.split()}
        if kind == 8:
            wanted = {"prompt": words, "n": rng.randint(1, 3)}
            return "images/generations", {"model": "dall-e-3", **wanted}
        if kind == 9:
            return "audio/speech", {"model": "tts-1", "input": words}
        if kind == 10:
            return "audio/transcriptions", None
        return "moderations", {"model": "free", "input": words}

    def _text(self, words: str) -> dict[str, Any]:
        rng = self._rng
        body: dict[str, Any] = {
            "model": rng.choice(("gpt-4o", "gpt-4o-mini")),
            "messages": [{"role": "user", "content": words}],
            "prompt": words,
            "input": words,
        }
        if rng.random() < 0.6:
            body["stream"] = True
        if rng.random() < 0.3:
            body["prompt_cache_key"] = "x"
        if rng.random() < 0.2:
            body["stream_options"] = {"include_usage": True}
        return body


def _form(rng: random.Random) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name in rng.sample(["model", "file"], 2):
        if name == "model":
            form.add_field(name, "whisper-1")
        else:
            form.add_field(name, b"x" * 777, filename="a.mp3")
    return form


def billed(mirrors: Iterable[MirrorProcess], leavers: Iterable[str] = ()) -> Account:
    """The mirrors' bills."""
    account: Account = {}
    for mirror in mirrors:
        for line in mirror.bill():
            sums = account.setdefault((line["label"], line["model"]), Counter())
            sums.update({name: line.get(name, 0) for name in ("requests", *AMOUNTS)})
    return _plain(account, leavers)


def charged(instance: Instance, basis: str = "usage", leavers: Iterable[str] = ()) -> Account:
    """The charges of keys."""
    ran = instance.command("keys", "list", "--json", "--days", "3", check=True)
    account: Account = {}
    for key in json.loads(ran.stdout)["keys"]:
        for use in key["use"]:
            if use["basis"] == basis:
                sums = account.setdefault((key["id"], use["model"]), Counter())
                sums.update({name: use[name] for name in ("requests", *AMOUNTS)})
                sums["nano"] += int(Fraction(use["cost"]) * 10**9)
    return _plain(account, leavers)


def _plain(account: Account, leavers: Iterable[str]) -> Account:
    kept = {line: +sums for line, sums in account.items() if line[0] not in set(leavers)}
    return dict(sorted(kept.items()))


def with_costs(account: Account) -> Account:
    """The account with what each line costs; exact as long as no single answer needs rounding."""
    costs = {line: Counter(nano=_nano(line[1], sums)) for line, sums in account.items()}
    return {line: +(sums + costs[line]) for line, sums in account.items()}


def _nano(model: str, sums: Counter[str]) -> int:
    price = {name: Fraction(str(amount)) for name, amount in _OF_MODEL[model].items()}
    of_input = price.get("input", Fraction(0))
    cost = (
        (sums["input_tokens"] - sums["cached_tokens"]) * of_input / 10**6
        + sums["cached_tokens"] * price.get("cached_input", of_input) / 10**6
        + sums["output_tokens"] * price.get("output", Fraction(0)) / 10**6
        + sums["images"] * price.get("image", Fraction(0))
        + sums["audio_ms"] * price.get("audio_minute", Fraction(0)) / 60_000
        + sums["characters"] * price.get("characters", Fraction(0)) / 10**6
    )
    assert (cost * 10**9).denominator == 1, "the prices of this test need no rounding"
    return int(cost * 10**9)


def settled(instance: Instance, mirrors: Sequence[MirrorProcess], leaver: str = "") -> Account:
    """The two accounts, once they are the same; fails when they do not become so."""
    wanted = with_costs(billed(mirrors, [leaver]))
    with suppress(AssertionError):
        wait_until(lambda: charged(instance, leavers=[leaver]) == wanted, 15.0)
    assert charged(instance, leavers=[leaver]) == wanted
    return wanted


def quiet(instance: Instance) -> Account:
    """The charges, once nothing is added any more."""
    last: list[Account] = []

    def stays() -> bool:
        last.append(charged(instance))
        return len(last) > 3 and last[-1] == last[-3]

    wait_until(stays, 30.0, "the account to stay as it is")
    return last[-1]


def missing(bills: Account, charges: Account) -> Counter[str]:
    """Amounts billed and not charged in all; they may be negative."""
    lost: Counter[str] = Counter()
    for line in bills.keys() | charges.keys():
        lost.update(bills.get(line, Counter()))
        lost.subtract(charges.get(line, Counter()))
    del lost["nano"]
    return lost


def run_of(instance: Instance, mirrors: list[MirrorProcess], many: int, seed: int) -> Callers:
    """Ask so often, compare the two accounts, and return who asked."""
    keys = [create(instance, f"customer {number}") for number in range(3)]
    keys.append(create(instance, "with quotas", "--quota", "1000", "--tokens", "100000000"))
    leaver = create(instance, "leaver")
    callers = Callers(instance, keys, random.Random(seed))
    asyncio.run(callers.ask(many, at_once=12))
    asyncio.run(callers.leave(leaver, LEFT))
    account = settled(instance, mirrors, leaver.id)
    assert {key for key, _ in account} >= {key.id for key in keys}
    assert callers.leaks == 0
    line = leaver.id, "gpt-4o"
    wait_until(lambda: _left(instance, line) == LEFT, 60, "the leavers to be charged")
    estimated = charged(instance, "estimate")
    assert list(estimated) == [line], "whoever stayed has the mirror's own numbers"
    assert estimated[line]["output_tokens"] == 2 * LEFT
    return callers


def _left(instance: Instance, line: tuple[str, str]) -> int:
    """Number of answers of a line that were estimated, once they have been read on in vain."""
    return charged(instance, "estimate").get(line, Counter())["requests"]
