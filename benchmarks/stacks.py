"""From sampled stacks to a table: which function had the time itself, and with what it called."""

from collections import Counter
from collections.abc import Iterable

LINES = 60


def table(collapsed: Iterable[str], lines: int = LINES) -> str:
    """Return shares in percent, the largest of their own first.

    `collapsed` has lines `outer;inner;innermost COUNT`, as py-spy and stackcollapse write them.
    """
    own, whole, total = _counted(collapsed)
    rows = ["   self  total  function"]
    for name, count in own.most_common(lines):
        rows.append(f"{_share(count, total)}  {_share(whole[name], total)}  {name}")
    return "\n".join(rows)


def _counted(collapsed: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in filter(str.strip, collapsed):
        stack, _, number = line.strip().rpartition(" ")
        frames, count = stack.split(";"), int(number)
        own[frames[-1]] += count
        for frame in set(frames):  # a recursive function is on the stack once
            whole[frame] += count
        total += count
    return own, whole, total


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:6.1f}"
