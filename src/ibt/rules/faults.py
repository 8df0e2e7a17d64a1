"""
What is wrong with a request, and how it is told.

A `Rule` is one thing that a request can break, with its clause; a `Fault` is one place that broke it, and
one line of the answer. `Faults` gathers them, so that a client learns of every fault in one answer, and
refuses once. No value can forge a line: values are quoted, escaped and cut.

Clause 2.1; readings 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How many faults are told; the rest are counted (reading 6).
MOST_LINES = 100

#: Where a quoted value is cut, in characters (reading 6).
MOST_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One thing that can be wrong.

    *name* is stable and for machines; *says* is the rest of a sentence that begins with the place, or all of
    one where there is no place, with `{…}` for what the fault knows; *clause* is where the specification or a
    reading settles it; *status* is that of the answer that refuses.
    """

    name: str
    says: str
    clause: str
    status: int = 400


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule broken at one place: *where* ("contract 7, line 12"), *field*, its *value*; each may be missing."""

    rule: Rule
    where: str
    field: str
    value: str | None
    says: str

    def __str__(self) -> str:
        """The line of the answer: contract and period, field and value, the rule, the clause (reading 6)."""
        what = self.field if self.value is None else f"{self.field} {quoted(self.value)}"
        place = ", ".join(part for part in (self.where, what) if part)
        return f"{place}: {self.says} ({self.rule.clause})" if place else f"{self.says} ({self.rule.clause})"


class Faults:
    """The faults of one request, in the order of the document. Past the cap they are only counted."""

    def __init__(self) -> None:
        self.told: list[Fault] = []
        self.count = 0

    def add(self, rule: Rule, *, where: str = "", field: str = "", value: str | None = None, **known: object) -> None:
        """Adds that *rule* is broken; *known* fills the `{…}` of what the rule says."""
        self.count += 1
        if self.count <= MOST_LINES:
            self.told.append(Fault(rule, where, field, value, rule.says.format_map(known)))

    def lines(self) -> list[str]:
        """One line for each fault, at most the cap, then how many more there are (reading 6)."""
        more = self.count - len(self.told)
        return [str(fault) for fault in self.told] + ([f"and {more} more"] if more else [])

    def refuse(self, status: int = 400) -> None:
        """Raises the Refusal with all faults, if there is one."""
        if self.count:
            raise Refusal(status, "\n".join(self.lines()), faults=tuple(self.told))


class Refusal(Exception):
    """
    An answer that refuses: its status, its text (one fault a line) and any headers that belong to it.

    Clause 2.1. Readings 6, 7.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        headers: Mapping[str, str] | None = None,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
        self.faults = faults

    @classmethod
    def of(
        cls,
        rule: Rule,
        *,
        where: str = "",
        field: str = "",
        value: str | None = None,
        headers: Mapping[str, str] | None = None,
        **known: object,
    ) -> Refusal:
        """The refusal with the rule's status for the one fault that *rule* is broken; *known* fills its `{…}`."""
        fault = Fault(rule, where, field, value, rule.says.format_map(known))
        return cls(rule.status, str(fault), headers=headers, faults=(fault,))

    @property
    def rule(self) -> str:
        """The name of the rule that the first fault breaks, for the log."""
        return self.faults[0].rule.name


def quoted(value: str) -> str:
    """*value* in double quotes on one line: cut at 100 characters, with all that does not print escaped."""
    cut = value[:MOST_CHARACTERS]
    safe = "".join(_escaped(character) for character in cut)
    return f'"{safe}"' + ("..." if len(value) > MOST_CHARACTERS else "")


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
