"""Contexts of legacy chats: one holder at a time, in order, for half an hour, within a bound."""

from __future__ import annotations

from typing import Any

from router.control.sessions import HELD_FOR, MOST_OF_KEY, MOST_WAITING, OVERHEAD, Sessions

OWNER, OTHER = b"owner", b"other"
TTL = 1800.0
MEMORY = 1 << 20


class Book:
    """Sessions on a clock of the test, and what workers were told."""

    def __init__(self, memory: int = MEMORY) -> None:
        self.now = 1000.0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.sessions = Sessions(self._tell, ttl=TTL, memory=memory, clock=lambda: self.now)
        self._number = 0

    def _tell(self, process: str, message: dict[str, Any]) -> None:
        self.told.append((process, message))

    def ask(self, session: bytes, owner: bytes = OWNER, process: str = "w") -> int:
        """A request asks; its number."""
        self._number += 1
        self.sessions.ask(process, self._number, session, owner)
        return self._number

    def context(self, number: int) -> list[str] | None:
        """The context that a request was given, once it was."""
        given = [m["turns"] for _, m in self.told if m["number"] == number and "turns" in m]
        assert len(given) <= 1
        return given[0] if given else None

    def say(self, session: bytes, *turns: str, owner: bytes = OWNER) -> list[str] | None:
        """A whole request: the context that it found."""
        number = self.ask(session, owner)
        found = self.context(number)
        self.sessions.give_back("w", number, [*(found or []), *turns])
        return found


def test_a_context_is_there_again_and_only_in_its_own_session():
    book = Book()
    assert book.say(b"a", "你好", "hello") == []
    assert book.say(b"b", "other", "word") == []
    assert book.say(b"a") == ["你好", "hello"]
    assert book.say(b"b") == ["other", "word"]


def test_a_context_ends_half_an_hour_after_its_last_message():
    book = Book()
    book.say(b"a", "q", "r")
    book.now += TTL - 0.001
    assert book.say(b"a") == ["q", "r"]
    book.now += TTL - 0.001
    assert book.say(b"a") == ["q", "r"], "counted from the last message"
    book.now += TTL
    assert book.say(b"a", "new", "one") == []
    assert book.say(b"a") == ["new", "one"]


def test_expired_sessions_are_swept():
    book = Book()
    book.say(b"a", "q", "r")
    book.now += TTL - 1
    book.say(b"b", "q", "r")
    book.now += 1
    book.sessions.sweep()
    assert len(book.sessions) == 1
    assert book.say(b"b") == ["q", "r"]


def test_requests_of_a_session_come_one_after_the_other_in_the_order_in_which_they_asked():
    book = Book()
    first, second, third = (book.ask(b"a", process=p) for p in ("w1", "w2", "w1"))
    assert (book.context(first), book.context(second)) == ([], None)
    assert [m for _, m in book.told if m["number"] == second] == [{"wait": True, "number": second}]
    book.sessions.give_back("w1", first, ["1", "one"])
    assert (book.context(second), book.context(third)) == (["1", "one"], None)
    book.sessions.give_back("w2", second, ["1", "one", "2", "two"])
    assert book.context(third) == ["1", "one", "2", "two"]


def test_a_failed_request_leaves_the_context_as_it_was():
    book = Book()
    book.say(b"a", "q", "r")
    number = book.ask(b"a")
    book.sessions.give_back("w", number, None)
    assert book.say(b"a") == ["q", "r"]


def test_a_request_that_no_longer_waits_is_left_out():
    book = Book()
    first, second, third = book.ask(b"a"), book.ask(b"a"), book.ask(b"a")
    book.sessions.give_back("w", second, None)
    book.sessions.give_back("w", first, ["1", "one"])
    assert (book.context(second), book.context(third)) == (None, ["1", "one"])


def test_not_more_than_so_many_wait_for_one_session():
    book = Book()
    numbers = [book.ask(b"a") for _ in range(MOST_WAITING + 2)]
    assert book.told[-1][1] == {"full": True, "number": numbers[-1]}
    book.sessions.give_back("w", numbers[-1], None)
    book.sessions.give_back("w", numbers[0], ["1", "one"])
    assert book.context(numbers[1]) == ["1", "one"]


def test_a_worker_that_has_died_holds_nothing():
    book = Book()
    book.say(b"a", "q", "r")
    book.ask(b"a", process="dead")
    book.ask(b"a", process="dead")
    living = book.ask(b"a", process="living")
    book.sessions.left("dead")
    assert book.context(living) == ["q", "r"]


def test_a_session_that_is_not_given_back_is_taken_back():
    book = Book()
    held, waiting = book.ask(b"a"), book.ask(b"a")
    book.now += HELD_FOR
    book.sessions.sweep()
    assert book.context(waiting) is None
    book.now += 1
    book.sessions.sweep()
    assert book.context(waiting) == []
    book.sessions.give_back("w", held, ["too", "late"])
    book.sessions.give_back("w", waiting, ["in", "time"])
    assert book.say(b"a") == ["in", "time"]


def test_asked_twice_by_one_request_is_asked_once():
    book = Book()
    book.sessions.ask("w", 1, b"a", OWNER)
    book.sessions.ask("w", 1, b"a", OWNER)
    assert [m["turns"] for _, m in book.told] == [[]]


def test_the_oldest_session_makes_room_and_one_that_is_used_stays():
    book = Book(memory=MOST_OF_KEY * (OVERHEAD + len('["q","r"]')))
    for at in range(MOST_OF_KEY):
        book.say(b"%d" % at, "q", "r", owner=b"%d" % at)
    used = book.ask(b"0", owner=b"0")
    book.sessions.give_back("w", used, None)
    book.say(b"new", "q", "r", owner=b"new")
    assert book.say(b"0", owner=b"0") == ["q", "r"]
    assert book.say(b"1", owner=b"1") == []


def test_one_key_cannot_push_out_the_sessions_of_others():
    book = Book()
    book.say(b"mine", "q", "r", owner=OTHER)
    for at in range(2000):
        book.say(b"%d" % at, "q", "r")
    assert book.say(b"mine", owner=OTHER) == ["q", "r"]
    assert book.say(b"1999") == ["q", "r"], "the newest of a key stay"
    assert book.sessions.size <= MEMORY // MOST_OF_KEY + OVERHEAD + 100


def test_many_session_ids_stay_within_the_bound():
    book = Book()
    sessions, turns = book.sessions, ["a question", "an answer"]
    most = 0
    for number in range(20_000):
        sessions.ask("w", number, number.to_bytes(16), (number % 5000).to_bytes(16))
        sessions.give_back("w", number, turns)
        book.told.clear()
        most = max(most, sessions.size)
    assert MEMORY - OVERHEAD - 100 < most <= MEMORY
    assert len(sessions) <= MEMORY // OVERHEAD


def test_less_memory_takes_effect_at_once():
    book = Book()
    for at in range(100):
        book.say(b"%d" % at, "q", "r", owner=b"%d" % at)
    book.sessions.configure(TTL, 50 * OVERHEAD)
    assert 0 < len(book.sessions) < 50
    assert book.say(b"99", owner=b"99") == ["q", "r"]


def test_text_that_is_no_unicode_is_kept():
    book = Book()
    book.say(b"a", "\ud800 half", "你好 🙂")
    assert book.say(b"a") == ["\ud800 half", "你好 🙂"]
