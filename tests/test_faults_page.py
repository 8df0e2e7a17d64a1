"""
Every rule has an example that breaks it, and docs/faults.md is what the examples come to. Clause 2.1, reading 6.
"""

from __future__ import annotations

from collections import Counter

import pytest

from faults import CHAPTERS, PAGE, SERVICE, Example, page, rules_of

ALL = [each for chapter in CHAPTERS for each in chapter.examples]
OF_THE_SERVICE = [each for chapter in SERVICE for each in chapter.examples]


def name(example: Example) -> str:
    """What a test of *example* is called."""
    return example.rule.name


def test_every_rule_has_one_example() -> None:
    shown = Counter(each.rule for each in ALL)
    rules = set(rules_of("ibt"))
    assert {rule.name for rule in rules - shown.keys()} == set()
    assert {rule.name for rule in shown.keys() - rules} == set()
    assert set(shown.values()) == {1}


@pytest.mark.parametrize("example", ALL, ids=name)
def test_an_example_breaks_its_rule_first(example: Example) -> None:
    answer = example.told()
    assert answer.rule == example.rule.name
    assert answer.line.endswith(f"({example.rule.clause})")
    assert answer.line.isprintable()


@pytest.mark.parametrize("example", OF_THE_SERVICE, ids=name)
def test_a_refusal_has_the_status_of_its_rule(example: Example) -> None:
    assert example.told().status == example.rule.status


@pytest.mark.parametrize("room", [("rules", "messages", "service"), ("store",), ("client",)], ids=" ".join)
def test_a_name_stands_for_one_rule(room: tuple[str, ...]) -> None:
    names = Counter(rule.name for rule in {rule for each in room for rule in rules_of(f"ibt.{each}")})
    assert [name for name, count in names.items() if count > 1] == []


def test_the_page_is_what_the_examples_come_to() -> None:
    assert PAGE.read_text("utf-8") == page(), "docs/faults.md is not what `python tests/faults.py` writes"
