"""The actions of the desk: forms that are checked, asked about, done by the commands, and told.

A form is posted; where the action hurts, a page asks first and posts it again; then it is done and
the browser goes back to a page, which says what was done. All of it works without script.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from dashboard.admin import inputs
from dashboard.admin.api import all_nodes
from dashboard.admin.desk import Moments, actor, page, see_other, words_for
from dashboard.admin.gate import DESK, FORM, SESSION, visitor
from dashboard.admin.inputs import BadInput
from dashboard.admin.pages import serving
from dashboard.admin.sessions import Flash
from dashboard.admin.unsent import own_address
from dashboard.common.context import CLOCK, COMMANDS, SOURCES
from dashboard.common.sources import CommandError
from dashboard.i18n.texts import Words
from dashboard.public.incidents import in_either
from monitor.common.settings import parse_duration
from monitor.health.announcements import IncidentEdit
from monitor.health.snapshot import Override, Standing

PATIENCE = 20.0
"""Seconds that an action may take; a locked store gives up before."""
MANY_CLIENTS = {4: 24, 6: 56}
"""Prefixes from which on a network is so wide that a ban asks about it."""
TWICE_WITHIN = 5.0
"""Seconds in which the same form with the same fields is a button that was clicked twice."""
LISTED = 12
"""Differences that the question before a reload lists."""

Form = Mapping[str, list[str]]


@dataclass(slots=True)
class Order:
    """An action that was read from a form: what it will do, what to ask before, and how."""

    do: Callable[[], Awaitable[Flash]]
    ask: str = ""
    """The question; empty: nothing is asked."""
    warnings: list[str] = field(default_factory=list)
    label: str = ""
    """Of the button that does it; empty: as the form is called."""


@dataclass(frozen=True, slots=True)
class Input:
    """The request of an action, and the fields of its form."""

    request: web.Request
    form: Form
    words: Words

    def text(self, name: str) -> str:
        """A field, without blanks around it."""
        return self.form.get(name, [""])[0].strip()

    def seconds(self, name: str) -> float | None:
        """A duration such as "30m"; None where the field is empty. Raises BadInput."""
        text = self.text(name)
        if not text:
            return None
        try:
            seconds = parse_duration(text)
        except ValueError:
            raise BadInput("duration", name) from None
        if not 0 < seconds <= inputs.LONGEST:
            raise BadInput("ten_years_long", name)
        return seconds

    def moment(self, name: str) -> str | None:
        """A time of a form as JSON has it: in the desk's time zone, unless it names its own
        offset. Raises BadInput."""
        text = self.text(name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise BadInput("day_and_time", name) from None
        zone = ZoneInfo(self.request.app[SOURCES].dashboard().timezone)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()

    @property
    def moments(self) -> Moments:
        """Moments in the operator's language and time zone."""
        zone = self.request.app[SOURCES].dashboard().timezone
        return Moments(self.words, self.request.app[CLOCK](), zone)

    def both(self, name: str) -> dict[str, str]:
        """A text in both languages."""
        return {code: self.text(f"{name}_{code}") for code in ("zh", "en")}

    def last_serving(self, mirrors: tuple[str, ...]) -> bool:
        """True if no mirror would be in rotation without these."""
        in_use = serving(all_nodes(self.request.app))
        return bool(in_use) and set(in_use) <= set(mirrors)


Reader = Callable[[Input], Awaitable[Order]]


def add_routes(app: web.Application) -> None:
    """The addresses of the forms."""
    for name, read in ACTIONS.items():
        app.router.add_post(f"/admin/do/{name}", partial(perform, name=name, read=read))


async def perform(request: web.Request, name: str, read: Reader) -> web.Response:
    """Check, ask, do, and say what was done."""
    form = request[FORM]
    back, sure = own_address(form.pop("back", [""])[0]), form.pop("sure", [])
    given, session = Input(request, form, words_for(request)), request[SESSION]
    try:
        async with asyncio.timeout(PATIENCE), session.turn:
            now = request.app[DESK].clock()
            done = session.last
            if done and done[:2] == (name, form) and now - done[2] < TWICE_WITHIN:
                return see_other(back)
            order = await read(given)
            if order.ask and not sure:
                return await page(
                    request, "confirm.html", name=name, form=form, back=back, order=order
                )
            flash = await order.do()
            session.last = name, form, now
    except (BadInput, CommandError) as error:
        reason = "; ".join(getattr(error, "faults", ())) or error.said(given.words)
        said = given.words("desk.not_done", reason=reason)
        flash = Flash(said, good=False, form=name, fields=form)
    except TimeoutError:
        flash = Flash(given.words("desk.slow", seconds=f"{PATIENCE:g}"), good=False)
    session.flash = replace(flash, back=back)
    return see_other(back)


# Nodes


async def override(given: Input) -> Order:
    """Use, drain or maintain a mirror."""
    words, request = given.words, given.request
    mirror, wanted = _mirror(given), inputs.override(given.text("wish"))
    lasts = None if wanted is Override.use else given.seconds("for")
    until = None if lasts is None else request.app[CLOCK]() + lasts

    async def do() -> Flash:
        await request.app[COMMANDS].set_override(mirror, wanted, until, actor(request))
        return Flash(words(f"desk.done.{wanted}", mirror=mirror))

    if wanted is Override.use:
        return Order(do)
    ask, label = words(f"desk.ask.{wanted}", mirror=mirror), words(f"desk.do.{wanted}")
    order = Order(do, ask, [words("desk.ask.out")], label)
    end = words("desk.ask.until", time=given.moments.text(until)) if until else ""
    order.warnings.append(end or words("desk.ask.forever"))
    if given.last_serving((mirror,)):
        order.warnings.insert(0, words("desk.warn.last", mirror=mirror))
    return order


async def probe(given: Input) -> Order:
    """Diagnose a mirror."""
    words, request, mirror = given.words, given.request, _mirror(given)

    async def do() -> Flash:
        await request.app[COMMANDS].inspect(mirror, actor(request))
        return Flash(words("desk.done.probe", mirror=mirror))

    paths = request.app[SOURCES].snapshot().of(mirror).paths
    held = any(path.standing is Standing.held for path in paths)
    if not held:
        return Order(do)
    return Order(do, words("desk.ask.probe", mirror=mirror), [words("desk.warn.held")])


def _mirror(given: Input) -> str:
    wanted = given.text("mirror")
    known = [mirror.id for mirror in given.request.app[SOURCES].mirrors()]
    if wanted not in known:
        raise BadInput("no_mirror_of_id", mirror=wanted, known=", ".join(known))
    return wanted


# Incidents


async def open_incident(given: Input) -> Order:
    """Tell of something that the monitor does not see."""
    words, request = given.words, given.request
    now = request.app[CLOCK]()
    told: dict[str, Any] = {
        "title": given.both("title"),
        "impact": given.text("impact"),
        "mirrors": given.form.get("mirrors", []),
        "started_at": given.moment("started_at"),
        "text": given.both("text"),
    }
    title, impact, mirrors, began, text = inputs.opened(told, now)

    async def do() -> Flash:
        by = actor(request)
        await request.app[COMMANDS].open_incident(title, impact, mirrors, began, text, by)
        return Flash(words("desk.done.open"))

    said = title.said(words.language) or title.en or title.zh
    warnings = [words("desk.ask.since", time=given.moments.text(began))]
    return Order(do, words("desk.ask.open", title=said), warnings)


def _changed_meanwhile(given: Input, about: str, order: Order) -> Order:
    """Ask before going on if another operator has said something of it since the page was made."""
    words, announced = given.words, given.request.app[SOURCES].announced()
    seen = given.text("seen")
    if not seen or seen == announced.mark(about):
        return order
    order.ask, order.label = words("desk.ask.changed"), words("desk.do.changed")
    edit = announced.edits.get(about)
    if edit is not None:
        order.warnings.append(f"{words('desk.field.title')}: {in_either(edit.title, words)}")
    for update in announced.updates.get(about, ())[:1]:
        state = words(f"desk.status.{update.status}")
        order.warnings.append(f"{state}: {in_either(update.text, words)}")
    return order


async def edit_incident(given: Input) -> Order:
    """Give an incident a title and an impact."""
    words, request, its_id = given.words, given.request, given.text("incident")
    title = inputs.words(given.both("title"), "title", inputs.LONGEST_TITLE, required=False)
    change = IncidentEdit(its_id, title, inputs.impact(given.text("impact")))

    async def do() -> Flash:
        await request.app[COMMANDS].edit_incident(change, actor(request))
        return Flash(words("desk.done.edit"))

    return _changed_meanwhile(given, its_id, Order(do))


async def update_incident(given: Input) -> Order:
    """Add a message about an incident or a maintenance."""
    words, request, about = given.words, given.request, given.text("about")
    planned = request.app[SOURCES].announced().find(about) is not None
    status = inputs.update_status(given.text("status"), maintenance=planned)
    text = inputs.words(given.both("text"), "text", inputs.LONGEST_MESSAGE)

    async def do() -> Flash:
        await request.app[COMMANDS].update_incident(about, status, text, actor(request))
        return Flash(words("desk.done.update"))

    return _changed_meanwhile(given, about, Order(do))


async def plan(given: Input) -> Order:
    """Plan the maintenance of mirrors."""
    words, request = given.words, given.request
    now = request.app[CLOCK]()
    mirrors = inputs.mirror_ids(given.form.get("mirrors", []))
    begin, end = inputs.stretch(given.moment("starts_at"), given.seconds("for"), now)
    title = inputs.words(given.both("title"), "title", inputs.LONGEST_TITLE, required=False)

    async def do() -> Flash:
        by = actor(request)
        await request.app[COMMANDS].plan_maintenance(mirrors, begin, end, title, by)
        return Flash(words("desk.done.plan", mirrors=", ".join(mirrors)))

    moments = given.moments
    order = Order(do, words("desk.ask.plan", mirrors=", ".join(mirrors)))
    order.warnings.append(
        words("desk.ask.stretch", begin=moments.text(begin), end=moments.text(end))
    )
    if given.last_serving(mirrors):
        order.warnings.insert(0, words("desk.warn.last", mirror=", ".join(mirrors)))
    return order


async def end_maintenance(given: Input) -> Order:
    """Call a maintenance off, or end it."""
    words, request, its_id = given.words, given.request, given.text("maintenance")

    async def do() -> Flash:
        await request.app[COMMANDS].end_maintenance(its_id, actor(request))
        return Flash(words("desk.done.end"))

    return Order(do, words("desk.ask.end"))


# Bans


async def ban(given: Input) -> Order:
    """Ban a network by hand."""
    words, request = given.words, given.request
    network = inputs.network(given.text("network"))
    lasts, reason = given.seconds("for"), inputs.reason(given.text("reason") or None)

    async def do() -> Flash:
        await request.app[COMMANDS].add_ban(network, lasts, reason, actor(request))
        return Flash(words("desk.done.ban", network=network))

    order = Order(do, words("desk.ask.ban", network=network))
    if _contains(network, visitor(request).address):
        order.warnings.append(words("desk.warn.own"))
    parsed = ip_network(network)
    if parsed.prefixlen < MANY_CLIENTS[parsed.version]:
        order.warnings.append(words("desk.warn.wide", count=f"{parsed.num_addresses:,}"))
    end = words("desk.ask.for", length=given.moments.lasting(lasts)) if lasts else ""
    order.warnings.append(end or words("desk.ask.forever"))
    return order


def _contains(network: str, address: str) -> bool:
    try:
        own = ip_address(address)
    except ValueError:
        return False
    parsed = ip_network(network)
    return own.version == parsed.version and own in parsed


async def unban(given: Input) -> Order:
    """Lift the bans on a network, or all."""
    words, request, wanted = given.words, given.request, given.text("network")
    network = None if wanted == "all" else inputs.network(wanted)

    async def do() -> Flash:
        lifted = await request.app[COMMANDS].remove_ban(network, actor(request))
        return Flash(words.plural("desk.done.unban", len(lifted)))

    if network is None:
        count = len(request.app[SOURCES].bans())
        return Order(do, words.plural("desk.ask.unban_all", count))
    return Order(do)


async def allow(given: Input) -> Order:
    """Never ban a network automatically."""
    words, request = given.words, given.request
    network, lasts = inputs.network(given.text("network")), given.seconds("for")

    async def do() -> Flash:
        await request.app[COMMANDS].allow(network, lasts, actor(request))
        return Flash(words("desk.done.allow", network=network))

    order = Order(do, words("desk.ask.allow", network=network), [words("desk.warn.allow")])
    if lasts is None:
        order.warnings.append(words("desk.ask.forever"))
    return order


# Keys


async def create_key(given: Input) -> Order:
    """Issue a key, which the next page shows, and no other."""
    words, request = given.words, given.request
    wanted: dict[str, Any] = {
        "name": given.text("name"),
        "quota": given.text("quota") or None,
        "tokens": _whole(given, "tokens"),
        "rate": _number(given, "rate"),
        "models": given.text("models").replace(",", " ").split() or None,
        "expires_at": given.moment("expires_at"),
    }
    order = inputs.order_of(wanted, request.app[CLOCK]())

    async def do() -> Flash:
        made = await request.app[COMMANDS].create_key(order, actor(request))
        said = words("desk.done.create_key", id=made.account.record.id)
        return Flash(said, key=made.key, notes=made.notes)

    if order.quota is None and order.tokens is None:
        return Order(do, words("desk.ask.create_key"), [words("desk.warn.unlimited")])
    return Order(do)


async def revoke_key(given: Input) -> Order:
    """Let a key be used no more."""
    words, request, its_id = given.words, given.request, given.text("key")

    async def do() -> Flash:
        account = await request.app[COMMANDS].revoke_key(its_id, actor(request))
        return Flash(words("desk.done.revoke", name=account.record.name))

    return Order(do, words("desk.ask.revoke", id=its_id), [words("desk.warn.revoke")])


async def top_up_key(given: Input) -> Order:
    """Grant more of a key's quotas."""
    words, request, its_id = given.words, given.request, given.text("key")
    more = {"quota": given.text("quota") or None, "tokens": _whole(given, "tokens")}
    quota, tokens = inputs.more_of(more)

    async def do() -> Flash:
        by = actor(request)
        account = await request.app[COMMANDS].top_up_key(its_id, quota, tokens, by)
        return Flash(words("desk.done.top_up", name=account.record.name))

    return Order(do)


def _whole(given: Input, name: str) -> int | None:
    text = given.text(name).replace(",", "").replace("_", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise BadInput("whole", name)
    return int(text)


def _number(given: Input, name: str) -> float | None:
    text = given.text(name)
    try:
        return float(text) if text else None
    except ValueError:
        raise BadInput("number", name) from None


# Configuration


async def reload(given: Input) -> Order:
    """Take over the configuration file."""
    words, request = given.words, given.request
    told = await request.app[COMMANDS].configuration()
    if told.faults:
        raise CommandError("bad_file", told.faults)

    async def do() -> Flash:
        changes = await request.app[COMMANDS].reload(actor(request))
        parts = [
            f"{words('desk.reload.' + kind)} {', '.join(changes[kind])}"
            for kind in ("added", "removed", "changed", "settings", "restart")
            if changes.get(kind)
        ]
        return Flash(words("desk.done.reload", changes="; ".join(parts) or words("desk.none")))

    differing = [each.path for each in told.settings if each.differs]
    warnings = differing[:LISTED] or [words("desk.reload.same")]
    if len(differing) > LISTED:
        warnings.append(words("desk.more", count=len(differing) - LISTED))
    return Order(do, words("desk.ask.reload"), warnings)


ACTIONS: dict[str, Reader] = {
    "wish": override,
    "probe": probe,
    "open-incident": open_incident,
    "edit-incident": edit_incident,
    "update-incident": update_incident,
    "plan": plan,
    "end-maintenance": end_maintenance,
    "ban": ban,
    "unban": unban,
    "allow": allow,
    "create-key": create_key,
    "revoke-key": revoke_key,
    "top-up-key": top_up_key,
    "reload": reload,
}
"""The forms by their address below /admin/do/."""
