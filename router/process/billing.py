"""Balances: `GET /pro/balance`, and OpenAI's old billing pages for issued keys.

Of a caller's own key the mirror is asked, in requests that take the way of every request; of an
issued key the ledger. A key in a query goes no further than here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from router.admission.client_address import Client
from router.admission.credentials import Caller
from router.forwarding.admission import blame, entry, refusal
from router.forwarding.config import LEGACY_BALANCE
from router.forwarding.context import WorkerContext
from router.forwarding.request_context import RequestContext
from router.process import balance as balances
from router.process.control_questions import ControlQuestions
from router.process.inner_request import InnerResponse, ask, request_head
from router.process.legacy_answers import Fault, fault_of, fault_of_problem, passed
from router.wire.error_response import Problem

PATH = LEGACY_BALANCE
SUBSCRIPTION = "/dashboard/billing/subscription"
USAGE = "/dashboard/billing/usage"
ENDPOINT = "legacy_balance"
PLACES = ("/v1", "")
"""Where mirrors have these pages; the second is tried where the first is missing."""
LONGEST = 60.0
"""Seconds for all questions to mirrors."""
STAY = LONGEST + 15.0
_MOST = 4 << 20
_MISSING = (404, 405)
_SILENT = Problem(503, "keys_unavailable", "The ledger cannot be asked right now.", retry_after=2)
_NO_DAY = Problem(400, "invalid_date", "start_date and end_date are days, as 2026-11-21.")
_UNKNOWN = Problem(404, "unknown_url", "There is no such billing page.")


class Asker(NamedTuple):
    """The client that asks, and the fields of its request."""

    client: Client
    look: Mapping[bytes, bytes]


async def of_key(
    context: WorkerContext, questions: ControlQuestions, key: str, asker: Asker
) -> tuple[str, dict[str, str]]:
    """The `data` of a balance, and fields that go with the answer. Raises Fault."""
    head = request_head("GET", f"/v1{SUBSCRIPTION}", key, asker.look)
    request = RequestContext(context.config, head, head.target, asker.client)
    if request.caller is not Caller.issued:
        return await _of_mirror(context, key, asker)
    account = await _account(context, questions, request, asker)
    if isinstance(account, Problem):
        raise fault_of_problem(account)
    return balances.data_of(balances.document(account)), {}


async def _of_mirror(context: WorkerContext, key: str, asker: Asker) -> tuple[str, dict[str, str]]:
    today = datetime.fromtimestamp(context.wall(), UTC).date()
    try:
        async with asyncio.timeout(LONGEST):
            place, grant = await _place(context, key, asker)
            answers = []
            for begin, end in balances.windows(today, context.config.legacy.balance_days):
                target = f"{place}{USAGE}?start_date={begin}&end_date={end}"
                answers.append(await _get(context, target, key, asker))
    except TimeoutError:
        raise Fault(504, "The mirror did not answer in time. Try again.") from None
    try:
        total = balances.granted(grant.body)
        used = balances.used(answer.body for answer in answers)
    except balances.NoAmount as missing:
        raise Fault(502, f"The mirror's answer has no {missing}.") from None
    return balances.data_of(balances.Balance(total, used)), passed(grant)


async def _place(context: WorkerContext, key: str, asker: Asker) -> tuple[str, InnerResponse]:
    """Where the mirrors have these pages, and what was granted."""
    for place in PLACES[:-1]:
        try:
            return place, await _get(context, place + SUBSCRIPTION, key, asker)
        except Fault as fault:
            if fault.status not in _MISSING:
                raise
    return PLACES[-1], await _get(context, PLACES[-1] + SUBSCRIPTION, key, asker)


async def _get(context: WorkerContext, target: str, key: str, asker: Asker) -> InnerResponse:
    head = request_head("GET", target, key, asker.look)
    response = await ask(context, asker.client, head, b"", endpoint=ENDPOINT, most=_MOST)
    if response.status != 200:
        raise fault_of(response)
    return response


# Issued keys


async def page_of_key(
    context: WorkerContext,
    questions: ControlQuestions,
    request: RequestContext,
    asker: Asker,
    page: str,
    query: Mapping[str, str],
) -> str | Problem:
    """The body of a billing page for an issued key."""
    first, behind = "", ""
    if page == "usage":
        try:
            begin, end = map(balances.day_of, (query.get("start_date"), query.get("end_date")))
        except ValueError:
            return _NO_DAY
        today = datetime.fromtimestamp(context.wall(), UTC).date()
        first = str(begin or today - timedelta(days=balances.WINDOW - 1))
        behind = str(end or today + timedelta(days=1))
    elif page not in ("subscription", "credit_grants"):
        return _UNKNOWN
    account = await _account(context, questions, request, asker, first)
    if isinstance(account, Problem):
        return account
    balance = balances.document(account)
    if page == "usage":
        return balances.usage(row for row in account["days"] if row[0] < behind)
    if page == "credit_grants":
        return balances.credit_grants(balance)
    return balances.subscription(balance, account["expires_at"])


async def _account(
    context: WorkerContext,
    questions: ControlQuestions,
    request: RequestContext,
    asker: Asker,
    first: str = "",
) -> dict[str, Any] | Problem:
    """The account of an issued key, with its days from the first one on; limited as any request."""
    head = request_head("GET", f"/v1{SUBSCRIPTION}", "", asker.look)
    place, problem = entry(context, head, request)
    try:
        problem = problem or refusal(context, 0, request)
        if problem is not None:
            context.stats.rejected(problem.code)
            blame(context, request, head, problem)
            return problem
        issued = request.issued(context.keys, context.wall())
        assert issued is not None
        with questions.ask("account?", key=issued.id, first=first) as question:
            told = await question.answer()
    finally:
        context.limits.leave(place)
    return _SILENT if told is None or told.get("account") is None else told["account"]
