"""Are we online ourselves?

When *every* mirror of several fails for a reason that may lie in our own network (no route, no
resolver), all mirrors being down at once is the less likely explanation. Then nobody is called
down: what is known is frozen and becomes unknown, which leaves all mirrors in rotation. Nothing
else counts as our fault: a refused connection or a failed handshake came from somewhere, so the
network works. With a single mirror there is nobody to compare it with, and no guard.
"""

from __future__ import annotations

from collections.abc import Collection


def we_are_blind(could_be_ours: Collection[bool]) -> bool:
    """Whether the last results of all mirrors (True: may be our own network's fault) say so."""
    return len(could_be_ours) >= 2 and all(could_be_ours)
