"""Texts of strangers that try to become markup or script, and a desk that is full of them."""

import dataclasses
from itertools import cycle
from typing import Any

from monitor.common.keys import KeyAccount
from monitor.common.languages import Text
from monitor.diagnosis.evidence import Code
from monitor.health.announcements import (
    Announced,
    IncidentEdit,
    Maintenance,
    ManualIncident,
    Update,
)
from monitor.store.audit import Entry
from monitor.store.records import Transition
from tests.testkit.dashboard import INCIDENTS, MIRRORS, NOW, FakeCommands, FakeSources, bans

PAYLOADS = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "<svg onload=document.title='owned'>",
    "<svg/onload=document.title='owned'//",
    "<body onload=document.title='owned'>",
    "<iframe src=javascript:document.title='owned'>",
    "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\">",
    "<a href=javascript:document.title='owned'>x</a>",
    "<details open ontoggle=document.title='owned'>",
    "<input autofocus onfocus=document.title='owned'>",
    "<select autofocus onfocus=document.title='owned'>",
    "<video><source onerror=document.title='owned'></video>",
    "<audio src=x onerror=document.title='owned'>",
    "<marquee onstart=document.title='owned'>",
    "<object data=javascript:document.title='owned'>",
    "<embed src=javascript:document.title='owned'>",
    "<form action=javascript:document.title='owned'><button>x</button></form>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=document.title='owned'>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>*{display:none}</style>",
    "\"><script>document.title='owned'</script>",
    "'><script>document.title='owned'</script>",
    "\" onmouseover=\"document.title='owned'",
    "' autofocus onfocus='document.title=1",
    "</title><script>document.title='owned'</script>",
    "</textarea><script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    "--><script>document.title='owned'</script>",
    "]]><script>document.title='owned'</script>",
    "<!--<img src=--><img src=x onerror=document.title='owned'>//-->",
    "<ScRiPt>document.title='owned'</sCrIpT>",
    "<scr\0ipt>document.title='owned'</scr\0ipt>",
    "<x onclick=document.title='owned'>click</x>",
    "{{ 7 * 7 }}<b>${document.title}</b>",
    "<template><script>document.title='owned'</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=document.title='owned'>\">",
    "<xss id=x tabindex=1 onactivate=document.title='owned'></xss>",
    "<a href=\"data:text/html,<script>document.title='owned'</script>\">x</a>",
)
"""Forty ways; the OWASP and PortSwigger cheat sheets have more of the same kinds."""


def hostile(sources: FakeSources, commands: FakeCommands) -> FakeSources:
    """The sources with payloads in user agents, names, details and announcements; the commands
    tell payloads in names of keys, the audit log and past states."""
    text = cycle(PAYLOADS).__next__
    mine = INCIDENTS[0].id
    sources.bans_ = tuple(
        dataclasses.replace(ban, user_agent=text(), reason=text()) for ban in bans(len(PAYLOADS))
    )
    sources.mirrors_ = tuple(dataclasses.replace(m, name=text()) for m in MIRRORS)
    sources.health = tuple(
        dataclasses.replace(each, detail=Code.as_written(text=text())) for each in sources.health
    )
    sources.announced_ = Announced(
        {mine: IncidentEdit(mine, Text(PAYLOADS[0], PAYLOADS[0]), "major")},
        {
            mine: tuple(
                Update(n, mine, NOW - n, "identified", Text(each, each))
                for n, each in enumerate(PAYLOADS)
            )
        },
        (Maintenance("m1", Text(text(), text()), ("hk", text()), NOW + 60, NOW + 90, NOW, NOW),),
        tuple(
            ManualIncident(f"0p{n}", Text(each, each), "major", (each,), NOW - n, NOW)
            for n, each in enumerate(PAYLOADS)
        ),
    )
    told: Any = commands
    plain_keys = commands.keys

    async def keys(days: int) -> list[KeyAccount]:
        (account,) = await plain_keys(days)
        records = [
            dataclasses.replace(account.record, id=f"k{n}", name=each, models=(each,))
            for n, each in enumerate(PAYLOADS)
        ]
        return [account._replace(record=record) for record in records]

    async def audit(limit: int, before: int | None) -> list[Entry]:
        return [Entry(n, NOW, each, each, each) for n, each in enumerate(PAYLOADS, 1)]

    async def transitions(mirror_id: str, most: int) -> list[Transition]:
        state = sources.health[0].state
        return [
            Transition(mirror_id, NOW, state, each, Code.as_written(text=each), "sh-1")
            for each in PAYLOADS
        ]

    told.keys, told.audit, told.transitions = keys, audit, transitions
    return sources
