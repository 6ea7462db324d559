"""`mirrorgate keys`, on the keys of the running instance or of its store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

from monitor.common.durations import until
from router.cli import arguments
from router.cli.client import Client, answers
from router.cli.console import DONE, USAGE, CommandFailed, Console, OutputLost, plain
from router.control import document

Table = dict[str, Any]
_PATH = "/api/admin/keys"
HELP = "keys for your own users: create, list, revoke, topup"
_HEADER = ("KEY", "NAME", "STATE", "USED", "LEFT", "UNTIL", "LIMITS")
_USE_HEADER = (
    "DAY",
    "KEY",
    "NAME",
    "MODEL",
    "REQUESTS",
    "INPUT",
    "CACHED",
    "OUTPUT",
    "COST",
    "BASIS",
)


def declare(parser: ArgumentParser, common: list[Any]) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _declare_create(actions.add_parser("create", help="issue a key", parents=common))
    listing = actions.add_parser(
        "list", help="list keys with their use and what is left", parents=common
    )
    listing.add_argument(
        "--days",
        type=arguments.count,
        default=30,
        help="show the use of this many days (default: 30)",
    )
    listing.add_argument("--use", action="store_true", help="show the use by day and model")
    revoke = actions.add_parser("revoke", help="revoke a key", parents=common)
    revoke.add_argument("id", metavar="ID", help="as `keys list` shows it")
    topup = actions.add_parser("topup", help="grant more to a key with a quota", parents=common)
    topup.add_argument("id", metavar="ID", help="as `keys list` shows it")
    _amounts(topup, "so much more")


def _declare_create(create: ArgumentParser) -> None:
    create.description = (
        "Issue a key. It is printed once, alone on standard output; only a digest is kept."
    )
    name = "its owner; visible to operators only"
    create.add_argument("--name", required=True, type=arguments.key_name, help=name)
    _amounts(create, "upper limit of its use in all; default: no limit")
    create.add_argument(
        "--rate", metavar="N", type=arguments.rate, help="at most N requests a second"
    )
    create.add_argument(
        "--models",
        metavar="NAMES",
        type=arguments.models,
        help='only these, such as "gpt-4o*,o3"; default: any',
    )
    create.add_argument(
        "--expires",
        metavar="WHEN",
        type=arguments.expiry,
        help='after a time such as "30d", or its last day such as 2026-12-31 (UTC); default: never',
    )


def _amounts(parser: ArgumentParser, meaning: str) -> None:
    parser.add_argument(
        "--quota", metavar="AMOUNT", type=arguments.money, help=f"money, as [prices]: {meaning}"
    )
    parser.add_argument(
        "--tokens", metavar="N", type=arguments.tokens, help=f"tokens, in and out: {meaning}"
    )


def run(args: Namespace, console: Console) -> int:
    """Do the action."""
    actions: dict[str, Callable[[Namespace, Console, Keys], int]] = {
        "create": _create,
        "list": _list,
        "revoke": _revoke,
        "topup": _top_up,
    }
    if args.action == "topup" and args.quota is args.tokens is None:
        message = "give an amount with --quota or --tokens: see `mirrorgate keys topup --help`"
        raise CommandFailed(message, USAGE)
    return actions[args.action](args, console, keys_of(args, console))


def _create(args: Namespace, console: Console, keys: Keys) -> int:
    order = {
        "name": args.name,
        "quota": args.quota,
        "tokens": args.tokens,
        "rate": args.rate,
        "models": args.models,
        "expires_at": args.expires,
    }
    made = keys.create(order)
    try:
        if args.json:
            console.data(made)
        else:
            console.say(str(made.get("key")))
        console.flush()
    except OutputLost as error:
        undo = f"`mirrorgate keys revoke {made.get('id')}`"
        raise OutputLost(f"{error}; the key is issued and is not shown again: {undo}") from error
    if args.json:
        return DONE
    console.note(f"{_named(made)}: {_granted(made)}; the key is not shown again")
    for note in made.get("notes") or ():
        console.note(f"note: {plain(note)}")
    return DONE


def _list(args: Namespace, console: Console, keys: Keys) -> int:
    answer = keys.all(args.days)
    if args.json:
        console.data(answer)
        return DONE
    known = answer.get("keys") or []
    if not known:
        console.say("no keys have been issued")
    elif args.use:
        _show_use(console, known, args.days)
    else:
        now = datetime.now(UTC)
        console.table(_HEADER, [_row(key, now) for key in known])
        console.note(f"USED: in the last {args.days} days; by day and model with --use")
    return DONE


def _show_use(console: Console, known: Iterable[dict[str, Any]], days: int) -> None:
    rows = sorted((row for key in known for row in _use_rows(key)), key=lambda row: row[0])
    if rows:
        console.table(_USE_HEADER, rows[::-1])
    else:
        console.say(f"nothing was used in the last {days} days")


def _use_rows(key: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for use in reversed(key.get("use") or []):
        counts = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost", "basis")
        yield (
            plain(use.get("day")),
            plain(key.get("id")),
            plain(key.get("name")),
            plain(use.get("model")),
            *(plain(use.get(count)) for count in counts),
        )


def _row(key: dict[str, Any], now: datetime) -> tuple[str, ...]:
    recent = key.get("recent") or {}
    used = f"{recent.get('cost', '0.00')}, {recent.get('tokens', 0)} tokens"
    return (
        plain(key.get("id")),
        plain(key.get("name")),
        plain(key.get("state")),
        plain(used),
        _left(key),
        until(key.get("expires_at"), now) if key.get("state") != "revoked" else "-",
        ", ".join(_limits(key)) or "-",
    )


def _left(key: dict[str, Any]) -> str:
    return ", ".join(_amounts_of(key.get("left"), key.get("left_tokens"))) or "no limit"


def _granted(key: dict[str, Any]) -> str:
    amounts = _amounts_of(key.get("quota"), key.get("quota_tokens"))
    quota = f"{' and '.join(amounts)} to use" if amounts else "no quota"
    end = key.get("expires_at")
    return "; ".join([quota, *_limits(key), f"until {end}" if end else "no end"])


def _limits(key: dict[str, Any]) -> Iterator[str]:
    if key.get("rate"):
        yield f"{key['rate']:g}/s"
    if key.get("models"):
        yield f"only {plain(', '.join(key['models']))}"


def _amounts_of(money: Any, tokens: Any) -> list[str]:
    told = [] if money is None else [plain(money)]
    return told if tokens is None else [*told, f"{tokens} tokens"]


def _revoke(args: Namespace, console: Console, keys: Keys) -> int:
    key = keys.revoke(args.id)
    if args.json:
        console.data(key)
    else:
        console.say(f"{_named(key)} is revoked")
    return DONE


def _top_up(args: Namespace, console: Console, keys: Keys) -> int:
    key = keys.top_up(args.id, {"quota": args.quota, "tokens": args.tokens})
    if args.json:
        console.data(key)
    else:
        console.say(f"{_named(key)} has {_left(key)} left")
    return DONE


def _named(key: dict[str, Any]) -> str:
    return f"{plain(key.get('id'))} ({plain(key.get('name'))})"


class Keys(Protocol):
    """Commands on keys; answers are those of the admin API. Raises CommandFailed."""

    def all(self, days: int) -> Table:
        """All of them, with what they used lately."""

    def create(self, order: Table) -> Table:
        """A new one."""

    def revoke(self, key_id: str) -> Table:
        """One less."""

    def top_up(self, key_id: str, more: Table) -> Table:
        """More for one."""


def keys_of(args: Namespace, console: Console) -> Keys:
    """The keys of the configuration that the command line names."""
    path = document.find(args.config, console.environ)
    socket = document.socket_path(path, console.environ)
    if answers(socket):
        return KeysOfInstance(Client(socket))
    url = document.store_url(path, console.environ)
    if not url.startswith("sqlite"):
        raise CommandFailed(
            f"no instance is running (nobody answers at {socket}): start one: `mirrorgate run`"
        )
    from router.cli.in_store import KeysInStore  # others do without the database

    return KeysInStore(url, document.key_prefix(path, console.environ))


@dataclass(frozen=True, slots=True)
class KeysOfInstance:
    """Those of an instance that runs."""

    client: Client

    def all(self, days: int) -> Table:
        """All of them, with what they used lately."""
        return self._answer("GET", f"{_PATH}?days={days}")

    def create(self, order: Table) -> Table:
        """A new one."""
        return self._answer("POST", _PATH, order)

    def revoke(self, key_id: str) -> Table:
        """One less."""
        return self._answer("DELETE", f"{_PATH}/{quote(key_id, safe='')}")

    def top_up(self, key_id: str, more: Table) -> Table:
        """More for one."""
        return self._answer("POST", f"{_PATH}/{quote(key_id, safe='')}/topup", more)

    def _answer(self, method: str, target: str, body: Table | None = None) -> Table:
        answer: Table = self.client.call(method, target, body)
        return answer
