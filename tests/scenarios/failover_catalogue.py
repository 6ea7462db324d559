"""The faults of a catalogue against a data plane: what the client gets, when, by how many attempts.

`python -m tests.scenarios.failover_catalogue` plays them and writes the tables of docs/failover.md.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from router.balancing.breaker_messages import Word
from router.balancing.config import EjectionConfig
from router.balancing.trial_leases import Leases
from router.forwarding import metrics
from router.forwarding.context import WorkerContext
from tests.scenarios import chat_mirror as words
from tests.scenarios.chat_mirror import ChatMirror, Fault
from tests.scenarios.failover_verdicts import RULES, Measured, Verdict, verdict
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.http_client import read_stream
from tests.testkit.raw_http import Response, post

_LEASE_SECONDS = 124.0
_WORKER = "w0"

DOCS = Path(__file__).parents[2] / "docs/failover.md"
FAULTS, VERDICTS = "faults", "verdicts"
"""The tables of the page."""
SDK_TRIES = 3
"""OpenAI's SDKs repeat twice by themselves."""
_LIMITED = "rate_limit_error", "rate_limit_exceeded"
_RETRY_AFTER = f"Retry-After: {words.RETRY_AFTER}"
_BODY = {
    "model": "gpt-4o",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "content": "sixty words, please"}],
}
REQUEST = post(body=json.dumps(_BODY).encode())
REQUESTS, INTERVAL = 20, 4.0
"""Of the sequence over an outage: how many, and seconds between two."""
OUTAGE = "S15"
REFERENCE = Verdict.passed
"""Verdict on the bench's own reference client in every scenario (its scorecard of 2026-09-12)."""
WHY_NO_PASS = {
    "S01": "another mirror answers at once; the bench would wait 2 s and ask the same one",
    "S03": "another mirror is asked, not the same one again",
    "S07": "a slow model is waited for, since asking twice may be billed twice",
    "S08": "what has streamed cannot be taken back, two answers are not joined: an error ends it",
    "S09": "as S08",
    "S12": "no other model is asked than the client named: it gets the mirror's error",
    "S14": "as S08; the other mirror is not asked at all",
}
"""The scenarios whose verdict is no "pass"."""


class PretendControl:
    """Hears the words of one worker and answers at its next turn."""

    def __init__(self, clock: Callable[[], float], mirrors: Iterable[str]) -> None:
        self._clock = clock
        names = list(mirrors)
        self.leases = Leases(EjectionConfig(), _LEASE_SECONDS, random.Random(1))
        self.leases.mirrors(dict.fromkeys(names, ""), names)
        self.context: WorkerContext | None = None
        """Whom it answers."""

    def hear(self, word: Word) -> None:
        """A word of the worker."""
        asyncio.get_running_loop().call_soon(self._answer, word)

    def _answer(self, word: Word) -> None:
        now = self._clock()
        for _, answer in self.leases.hear(_WORKER, word, now):
            assert self.context is not None
            self.context.pool.hear(answer, now)


@dataclass(frozen=True)
class Case:
    """One fault of the first mirror; the other one is well."""

    id: str
    what: str
    fault: Fault
    other: Fault = words.well
    mirrors_key: bool = False
    """The request comes without a key and gets the mirror's own."""


CASES = [
    Case("S01", "429 with `Retry-After`, once; of the caller's own key",
         words.status(429, *_LIMITED, _RETRY_AFTER, times=1)),
    Case("S01", "the same, of the mirror's key",
         words.status(429, *_LIMITED, _RETRY_AFTER, times=1), mirrors_key=True),
    Case("S02", "429 without `Retry-After`, always; of the caller's own key",
         words.status(429, *_LIMITED)),
    Case("S02", "the same, of the mirror's key", words.status(429, *_LIMITED), mirrors_key=True),
    Case("S03", "500 once", words.status(500, "server_error", None, times=1)),
    Case("S04", "503 for ever", words.status(503, "server_error", "overloaded")),
    Case("S05", "a reset before the response, once", words.reset_once),
    Case("S06", "no response at all", words.silence),
    Case("S07", "the first token after 20 s", words.slow_first_token),
    Case("S08", "the stream is cut after 40 of 60 tokens", words.cut),
    Case("S09", "30 s of silence after 20 tokens, then a cut", words.stall),
    Case("S10", "a malformed event among the others", words.malformed),
    Case("S11", "no `[DONE]`", words.no_done),
    Case("S12", "400, context length",
         words.status(400, "invalid_request_error", "context_length_exceeded")),
    Case("S13", "400, content filter",
         words.status(400, "invalid_request_error", "content_policy_violation")),
    Case("S14", "cut after 40 tokens; the other mirror refuses to continue", words.cut,
         words.no_continuation),
    Case("S16", "503 for ever: who is named, what is counted",
         words.status(503, "server_error", "overloaded")),
]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Fate of a request."""

    outcome: str
    """"whole", "truncated", or an error: its status and code."""
    seconds: float
    asked: tuple[int, ...]
    """Attempts on each mirror."""
    requests: int
    """How often the client asked: an SDK repeats some errors by itself."""
    twice: int
    """Repeats of what a mirror may have done, and billed."""
    answer: Response
    times: tuple[float, ...] = ()
    """Moments of the attempts on the first mirror."""
    prefill_refused: bool = False
    alive: bool = True
    """True if the next request, to mirrors without a fault, got a whole answer in ten seconds."""


async def play(case: Case, *, alone: bool = False, tries: int = SDK_TRIES, **router: Any) -> Result:
    """Ask once, as an SDK would that tries so often; `alone`: there is no other mirror."""
    time = ManualClock()
    async with AsyncExitStack() as stack:
        faults = [case.fault] if alone else [case.fault, case.other]
        mirrors = [
            await stack.enter_async_context(ChatMirror(time, name, fault))
            for name, fault in zip("ab", faults, strict=False)
        ]
        plane = await stack.enter_async_context(plane_before(time, mirrors, **router))
        began = time.now
        answer, requests = await time.run(_as_an_sdk(plane, time, case.mirrors_key, tries))
        assert plane.in_flight == 0
        seen = Result(
            outcome_of(answer),
            time.now - began,
            tuple(len(mirror.asked_at) for mirror in mirrors),
            requests,
            int(plane.totals.get(metrics.AMBIGUOUS.name)),
            answer,
            tuple(mirrors[0].asked_at),
            any(words.goes_on(body) for mirror in mirrors[1:] for body in mirror.bodies),
        )
        for mirror in mirrors:
            mirror.fault = words.well
        began = time.now
        after, _ = await time.run(_as_an_sdk(plane, time, case.mirrors_key, 1))
        return replace(seen, alive=outcome_of(after) == "whole" and time.now - began <= 10.0)


def plane_before(time: ManualClock, mirrors: Sequence[ChatMirror], **router: Any) -> DataPlane:
    """A plane that asks the first mirror first."""
    tables = [m.table(priority=at, api_key="sk-mirror") for at, m in enumerate(mirrors)]
    control = PretendControl(time, [mirror.name for mirror in mirrors])

    class Controlled(DataPlane):
        async def __aenter__(self) -> Controlled:
            await super().__aenter__()
            control.context = self.context
            return self

    settings = {
        "balance": {"policy": "priority"},
        "callers": ["own", "anonymous"],
        "cors_origins": [],
        **router,
    }
    return Controlled(tables, settings, wheel=time.wheel, clock=time, tell=control.hear)


async def _as_an_sdk(
    plane: DataPlane, time: ManualClock, no_key: bool, tries: int = SDK_TRIES
) -> tuple[Response, int]:
    """Asks, and repeats what OpenAI's SDKs repeat."""
    request = REQUEST
    if no_key:
        request = request.replace(b"Authorization: Bearer sk-x\r\n", b"")
        request = request.replace(b"Host: test", b"Host: localhost")  # as such callers must
    for number in range(1, tries + 1):
        answer = await plane.ask(request)
        if number == tries or not _is_repeated(answer):
            break
        named = float(answer["retry-after"]) if "retry-after" in answer else 0.0
        await time.sleep(named if 0 < named <= 60 else 0.5 * 2 ** (number - 1))
    return answer, number


def _is_repeated(answer: Response) -> bool:
    if "x-should-retry" in answer:
        return answer["x-should-retry"] == "true"
    return answer.status in (408, 409, 429) or answer.status >= 500


def outcome_of(answer: Response) -> str:
    """Outcome for a client."""
    if answer.status != 200:
        return f"{answer.status} {answer.error['code']}"
    said, errors, done, odd = read_stream(answer.body)
    if errors:
        return "truncated" if done or answer.complete else f"{errors[0]['code']} in the stream"
    if not answer.complete:
        return "cut"
    if said != words.WHOLE:
        return "truncated"
    return "whole, the malformed event in it" if odd else "whole"


@dataclass(frozen=True)
class Outage:
    """A sequence of requests over an outage and the recovery."""

    outcomes: list[str]
    asked: tuple[int, ...]
    longest: float
    """Seconds of the slowest request."""
    back_after: float
    """Seconds from the recovery until the first mirror answers again."""
    failed_attempts: int


async def outage(mirrors_key: bool = False, tries: int = SDK_TRIES) -> Outage:
    """S15: twenty requests, one every four seconds, a minute of 503."""
    time = ManualClock()
    async with (
        ChatMirror(time, "a", words.outage) as bad,
        ChatMirror(time, "b", words.well) as good,
        plane_before(time, [bad, good]) as plane,
    ):
        began, outcomes, longest, recovered = time.now, [], 0.0, 0.0
        for number in range(REQUESTS):
            await time.elapse(max(began + number * INTERVAL - time.now, 0.0))
            asked_at = time.now
            answer, _ = await time.run(_as_an_sdk(plane, time, mirrors_key, tries))
            outcomes.append(outcome_of(answer))
            longest = max(longest, time.now - asked_at)
            over_for = bad.since_begin - words.OUTAGE
            if not recovered and over_for > 0.0 and answer["x-mirrorgate-mirror"] == "a":
                recovered = over_for
        failed = sum(at - began < words.OUTAGE for at in bad.asked_at)
        asked = len(bad.asked_at), len(good.asked_at)
        return Outage(outcomes, asked, longest, recovered or float("inf"), failed)


async def judged(scenario: str, mirrors_key: bool) -> Verdict:
    """Verdict of the bench, which asks once."""
    return verdict(scenario, await measured(scenario, mirrors_key))


async def measured(scenario: str, mirrors_key: bool) -> Measured:
    """Measurements of the bench."""
    if scenario == OUTAGE:
        seen = await outage(mirrors_key, 1)
        whole = all(outcome == "whole" for outcome in seen.outcomes)
        return Measured(
            whole, whole, seen.longest, (), seen.asked[1],
            served_in_outage=whole, recovered_after=seen.back_after,
        )  # fmt: skip
    (case, *_) = (case for case in CASES if case.id == scenario)
    result = await play(replace(case, mirrors_key=mirrors_key), tries=1)
    answer = result.answer
    said, errors, done, _ = read_stream(answer.body)
    models = re.findall(rb'"model": "(\w+)"', answer.body)
    return Measured(
        succeeded=answer.status == 200 and not errors and (done or answer.complete),
        whole=said == words.WHOLE,
        seconds=result.seconds,
        asked_at=result.times,
        asked_other=result.asked[1],
        model=models[-1].decode() if models else "",
        other_model="b",
        has_usage=b'"total_tokens": 80' in answer.body,
        alive=result.alive,
        prefill_refused=result.prefill_refused,
    )


async def verdicts() -> str:
    """The verdicts in Markdown."""
    lines = [
        "| scenario | the caller's key | the mirror's key | reference client | why no pass |",
        "|---|---|---|---|---|",
    ]
    columns: tuple[list[Verdict], list[Verdict]] = ([], [])
    for scenario in RULES:
        for mirrors_key, column in enumerate(columns):
            column.append(await judged(scenario, bool(mirrors_key)))
        own, lent = (column[-1] for column in columns)
        why = WHY_NO_PASS.get(scenario, "")
        lines.append(f"| {scenario} | {own} | {lent} | {REFERENCE} | {why} |")
    sums = [_summary(column) for column in (*columns, [REFERENCE] * len(RULES))]
    return "\n".join([*lines, f"| **together** | {' | '.join(sums)} | |"]) + "\n"


def _summary(column: Sequence[Verdict]) -> str:
    return ", ".join(f"{column.count(word)} {word}" for word in Verdict if word in column)


async def table() -> str:
    """The faults in Markdown."""
    lines = [
        "| fault | the client gets | after | attempts | perhaps twice | with no other mirror |",
        "|---|---|---:|---:|---:|---|",
    ]
    rows = [(case.id, await row(case)) for case in CASES]
    rows.append((OUTAGE, outage_row(await outage())))
    return "\n".join([*lines, *(line for _, line in sorted(rows, key=lambda r: r[0]))]) + "\n"


async def row(case: Case) -> str:
    """One fault."""
    both, lone = await play(case), await play(case, alone=True)
    asked = " + ".join(map(str, both.asked))
    what = f"**{case.id}** {case.what}"
    got, alone = f"{_told(both)}", f"{_told(lone)}, {_seconds(lone.seconds)}"
    return f"| {what} | {got} | {_seconds(both.seconds)} | {asked} | {both.twice} | {alone} |"


def outage_row(seen: Outage) -> str:
    """The sequence."""
    whole = seen.outcomes.count("whole")
    asked = " + ".join(map(str, seen.asked))
    what = "**S15** 503 for 60 s, then well: 20 requests, one every 4 s"
    got = f"{whole} of {len(seen.outcomes)} whole; the mirror in use {seen.back_after:.1f} s after"
    return f"| {what} | {got} | {_seconds(seen.longest)} | {asked} | 0 | |"


def _told(result: Result) -> str:
    if result.requests == 1:
        return result.outcome
    if result.outcome.startswith("whole"):
        return f"{result.outcome}, when its SDK asks again"
    return f"{result.outcome}, after {result.requests} requests of its SDK"


def _seconds(seconds: float) -> str:
    if seconds < 0.3:
        return "at once"
    return f"{seconds:.1f} s" if seconds < 10.0 else f"{seconds:.0f} s"


def without_times(table: str) -> str:
    """Results that a second run must repeat: a deadline is noticed up to a second late."""
    return re.sub(r"\d+(\.\d)? s(?= after)|\d+(\.\d)? s(?= \|)|at once", "…", table)


def marks(name: str) -> tuple[str, str]:
    """The lines of the page before and behind a table."""
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def shown(text: str, name: str) -> str:
    """The table of the page."""
    begin, end = marks(name)
    return text.partition(begin)[2].partition(end)[0]


def written(text: str, name: str, table: str) -> str:
    """The page with this table in it."""
    begin, end = marks(name)
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


async def _tables() -> dict[str, str]:
    return {FAULTS: await table(), VERDICTS: await verdicts()}


if __name__ == "__main__":
    page = DOCS.read_text("utf-8")
    for name, made in asyncio.run(_tables()).items():
        page = written(page, name, made)
    DOCS.write_text(page, "utf-8")
