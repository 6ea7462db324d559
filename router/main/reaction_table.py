"""The table of reactions in docs/diagnosis.md: `python -m router.main.reaction_table` renews it."""

from __future__ import annotations

from pathlib import Path

from monitor.diagnosis.reaction import REACTIONS, Reaction, Scope

DOCUMENT = Path("docs/diagnosis.md")
BEGIN, END = "<!-- reactions -->\n", "<!-- /reactions -->\n"
_CONCERNS = {
    Scope.none: "–",
    Scope.path: "this name on this address",
    Scope.endpoint: "the address and port",
    Scope.hostname: "the hostname",
    Scope.mirror: "the mirror",
    Scope.cdn: "its paths over the same CDN",
}


def table() -> str:
    """The rows in Markdown; verdicts with one reaction share a row."""
    verdicts: dict[Reaction, list[str]] = {}
    for verdict, reaction in REACTIONS.items():
        verdicts.setdefault(reaction, []).append(f"`{verdict}`")
    rows = [_row(", ".join(names), reaction) for reaction, names in verdicts.items()]
    header = ["| after | concerns | held, s | mirrorgate |", "|---|---|---|---|"]
    return "\n".join([*header, *rows]) + "\n"


def _row(verdicts: str, reaction: Reaction) -> str:
    held = f"{reaction.hold:g} → {reaction.hold_max:g}" if reaction.hold else "–"
    also = " Its operator is to be told." if reaction.alert else ""
    return f"| {verdicts} | {_CONCERNS[reaction.scope]} | {held} | {reaction.act}{also} |"


def renewed(document: str) -> str:
    """The document with the table as it is now."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text("utf-8")), "utf-8")
