"""Keys and cost: what issued keys and callers without one use of the mirrors' own keys."""

from __future__ import annotations

from typing import Any

from grafana.panels import BAD, INSTANCE, WARN, board, grown, lines, number, present, summed

CHARGES = "mirrorgate_charges_total"
TOKENS = "mirrorgate_tokens_total"
NOT_CACHED = f'{INSTANCE}, kind!="cached"'
OWN_KEYS = (
    'verdict=~"upstream_quota|upstream_key_invalid|upstream_ip_not_allowed|upstream_forbidden"'
)


def keys() -> Any:
    """Return the dashboard."""
    return board(
        "mirrorgate-keys",
        "mirrorgate / Keys and cost",
        "Issued keys, tokens and what they cost. No key is named: `mirrorgate keys list` does "
        "that.",
        (
            "Now",
            [
                number(
                    "Active keys",
                    "Issued keys that can be used, those with little left included.",
                    (f'sum(mirrorgate_keys{{{INSTANCE}, state=~"active|low"}})', "active"),
                ),
                number(
                    "Keys with little left",
                    "A tenth of a quota is left, or less: top them up before their users notice.",
                    (f'sum(mirrorgate_keys{{{INSTANCE}, state="low"}})', "low"),
                    steps=((None, "green"), (1, WARN)),
                ),
                number(
                    "Keys that are spent",
                    "Their users get 429 insufficient_quota.",
                    (f'sum(mirrorgate_keys{{{INSTANCE}, state="spent"}})', "spent"),
                    steps=((None, "green"), (1, BAD)),
                ),
                number(
                    "Charged in 24 h",
                    "In the unit of the prices in the configuration.",
                    (f"{grown(CHARGES, '', INSTANCE, '1d')} or vector(0)", "charged"),
                    decimals=2,
                ),
                number(
                    "Tokens in 24 h",
                    "Input and output of requests with an issued key or none.",
                    (f"{grown(TOKENS, '', NOT_CACHED, '1d')} or vector(0)", "tokens"),
                    decimals=0,
                ),
                number(
                    "Mirrors' own keys at fault",
                    "Mirrors whose own key is refused or has no quota left: the Mirrors dashboard "
                    "shows the verdict.",
                    (
                        f"count(mirrorgate_verdict{{{INSTANCE}, {OWN_KEYS}}} == 1) or vector(0)",
                        "mirrors",
                    ),
                    steps=((None, "green"), (1, BAD)),
                ),
            ],
        ),
        (
            "Use",
            [
                lines(
                    "Charged per hour, by model",
                    "In the unit of the prices. A model without a price costs nothing, or the "
                    "dearest where a key has a quota.",
                    (f"{grown(CHARGES, 'model', INSTANCE, '1h')}", "{{model}}"),
                    or_none=True,
                    stack=True,
                ),
                lines(
                    "Tokens per second, by model",
                    "In and out; models that no mirror's settings name are other.",
                    (summed(TOKENS, "model", NOT_CACHED), "{{model}}"),
                    stack=True,
                ),
                lines(
                    "Tokens per second, by kind",
                    "Cached tokens are a part of the input.",
                    (summed(TOKENS, "kind", INSTANCE), "{{kind}}"),
                    width=8,
                ),
                lines(
                    "Issued keys",
                    "By how they stand.",
                    (present("sum", "mirrorgate_keys", "state", INSTANCE), "{{state}}"),
                    width=8,
                ),
                lines(
                    "Not metered exactly",
                    "Charged by estimate, or a WebSocket of unknown dialect; docs/keys.md says "
                    "how. A worker that died may lose a second of use.",
                    (
                        summed("mirrorgate_unmetered_requests_total", "reason", INSTANCE),
                        "{{reason}}",
                    ),
                    (
                        grown("mirrorgate_ledger_gaps_total", "", INSTANCE, "1h"),
                        "workers lost in 1 h",
                    ),
                    unit="reqps",
                    width=8,
                ),
            ],
        ),
        mirrors=False,
    )
