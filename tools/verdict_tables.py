"""The tables in docs/diagnosis.md: `python -m tools.verdict_tables` renews them."""

from __future__ import annotations

from pathlib import Path

from monitor.diagnosis.reactions import Reaction, Scope
from monitor.diagnosis.telling import tell
from monitor.diagnosis.verdicts import VERDICTS

DOCUMENT = Path("docs/diagnosis.md")
_CONCERNS = {
    Scope.none: "–",
    Scope.path: "this name on this address",
    Scope.endpoint: "the address and port",
    Scope.hostname: "the hostname",
    Scope.mirror: "the mirror",
    Scope.cdn: "its paths over the same CDN",
}


def verdicts() -> str:
    """Every verdict explained."""
    rows = [
        f"| `{verdict}`{' †' * entry.alive} | {entry.seen} | {told.sentence('en')} | {told.todo} |"
        for verdict, entry in VERDICTS.items()
        for told in (tell(verdict, "en"),)
    ]
    head = "| verdict | what was seen | what is said | what you can do |"
    return "\n".join([head, "|---|---|---|---|", *rows])


def reactions() -> str:
    """The reactions; verdicts with one reaction share a row."""
    named: dict[tuple[Reaction, str], list[str]] = {}
    for verdict, entry in VERDICTS.items():
        done = (entry.reaction, tell(verdict, "en").now)
        named.setdefault(done, []).append(f"`{verdict}`")
    rows = [_row(", ".join(names), *done) for done, names in named.items()]
    return "\n".join(["| after | concerns | held, s | mirrorgate |", "|---|---|---|---|", *rows])


def _row(names: str, reaction: Reaction, now: str) -> str:
    held = f"{reaction.hold:g} → {reaction.hold_max:g}" if reaction.hold else "–"
    whose = "Our own" if reaction.scope is Scope.none else "Its"
    also = f" {whose} operator is to be told." if reaction.alert else ""
    return f"| {names} | {_CONCERNS[reaction.scope]} | {held} | {now}{also} |"


def renewed(document: str) -> str:
    """The document with the tables as they are now."""
    return _with(_with(document, "verdicts", verdicts()), "reactions", reactions())


def _with(document: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, _, rest = document.partition(begin)
    return f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text("utf-8")), "utf-8")
