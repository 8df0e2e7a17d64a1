"""What a process remembers: bounded by cost, the least recently used goes first."""

from __future__ import annotations

from ibt.service.memory import Memory


def test_what_was_kept_is_recalled_and_what_was_not_is_none() -> None:
    memory: Memory[str] = Memory(10)
    memory.keep(("a", 1), "value")
    assert (memory.recall(("a", 1)), memory.recall(("a", 2))) == ("value", None)


def test_the_least_recently_used_goes_first() -> None:
    memory: Memory[int] = Memory(3)
    for number in (1, 2, 3):
        memory.keep(number, number)
    memory.recall(1)
    memory.keep(4, 4)
    assert [memory.recall(number) for number in (1, 2, 3, 4)] == [1, None, 3, 4]


def test_costs_together_never_exceed_the_most() -> None:
    memory: Memory[str] = Memory(100)
    memory.keep("a", "a", 60)
    memory.keep("b", "b", 60)
    assert (memory.recall("a"), memory.recall("b")) == (None, "b")
    memory.keep("c", "c", 101)
    assert (memory.recall("b"), memory.recall("c")) == ("b", None)


def test_keeping_the_same_again_costs_nothing() -> None:
    memory: Memory[str] = Memory(10)
    for _ in range(5):
        memory.keep("a", "a", 5)
    memory.keep("b", "b", 5)
    assert (memory.recall("a"), memory.recall("b")) == ("a", "b")


def test_with_nothing_to_spend_nothing_is_kept() -> None:
    memory: Memory[str] = Memory(0)
    memory.keep("a", "a")
    assert memory.recall("a") is None
