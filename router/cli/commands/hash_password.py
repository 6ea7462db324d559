"""`mirrorgate hash-password`"""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace

from router.cli.console import DONE, USAGE, CommandFailed, Console

HELP = "hash a password for admin.password_hash, read from the terminal or from standard input"


def run(args: Namespace, console: Console) -> int:
    """Print what the setting is to be."""
    from dashboard.admin.passwords import LONGEST, SHORTEST, hashed  # others do without Argon2

    password = _asked() if sys.stdin.isatty() else sys.stdin.readline(LONGEST + 2).rstrip("\r\n")
    if not SHORTEST <= len(password) <= LONGEST:
        expected = f"expected a password of {SHORTEST} to {LONGEST} characters"
        raise CommandFailed(f"{expected}, got {len(password)}", USAGE)
    console.say(hashed(password))
    console.note('put it between quotes: [admin] password_hash = "…", or into a file: "file:PATH"')
    return DONE


def _asked() -> str:
    """The password, typed twice."""
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Again: ")
    except EOFError:
        raise CommandFailed("no password was typed", USAGE) from None
    if password != again:
        raise CommandFailed("the two passwords differ: try again", USAGE)
    return password
