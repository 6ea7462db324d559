"""The row on what issued keys and callers without one use."""

from __future__ import annotations

from panels import RATE, Panel, lines, row


def keys() -> list[Panel]:
    """Panels on the use of mirrors' keys."""
    return [
        row("Issued keys"),
        lines(
            "Tokens per second by model",
            (
                f'sum by (model) (rate(mirrorgate_tokens_total{{kind!="cached"}}[{RATE}]))',
                "{{model}}",
            ),
            stack=True,
            help="In and out, of requests with an issued key or none.",
        ),
        lines(
            "Tokens per second by kind",
            (f"sum by (kind) (rate(mirrorgate_tokens_total[{RATE}]))", "{{kind}}"),
            help="What a mirror had cached is input too.",
        ),
        lines(
            "Not metered exactly",
            (
                f"sum by (reason) (rate(mirrorgate_unmetered_requests_total[{RATE}]))",
                "{{reason}}",
            ),
            ("sum(increase(mirrorgate_ledger_gaps_total[1h]))", "workers lost in 1 h"),
            unit="reqps",
            help="Charged by estimate, or a tunnel; a lost worker may lose a second of use.",
        ),
    ]
