"""
What SQLite and PostgreSQL say differently: a wildcard pattern, a list of ids as one parameter, a change of many rows,
a comparison that is no reason to use an index, a condition for one of them alone, what is read first.

Reading 16.
"""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from ibt.rules.queries import Pattern
from ibt.store.question import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Executable
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine


class _PatternText(sa.TypeDecorator[Pattern]):
    """A Pattern as the database's own operator has it: GLOB on SQLite, LIKE on PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Pattern | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return "*".join(part.translate(_GLOB) for part in value.parts)
        return "%".join(part.translate(_LIKE) for part in value.parts)


#: GLOB has no escape character, but a set of one character stands for it.
_GLOB = str.maketrans({character: f"[{character}]" for character in "*?["})
_LIKE = str.maketrans({character: f"\\{character}" for character in "%_\\"})


class _Condition(FunctionElement[bool]):
    """
    What can be true of a row.

    SQLite has no type for that, so SQLAlchemy would ask whether it equals 1, and SQLite would use no index for it.
    """

    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> _Condition:
        """Itself, wherever it stands."""
        return self


class matching(_Condition):  # noqa: N801 (used as a function of SQL)
    """Whether a column matches the Pattern that the parameter of this name has: code point by code point."""

    inherit_cache = True
    name = "matching"

    def __init__(self, column: ColumnElement[str], parameter: str) -> None:
        super().__init__(column, sa.bindparam(parameter, type_=_PatternText()))


@compiles(matching, "sqlite")
def _glob(element: matching, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} GLOB {pattern}"


@compiles(matching, "postgresql")
def _like(element: matching, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} LIKE {pattern}"


class _IdList(sa.TypeDecorator["Sequence[int | str]"]):
    """A list of ids in one parameter: there may be more of them than a statement may have parameters."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of: TypeEngine[Any]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(self.of) if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Sequence[int | str] | None, dialect: Dialect) -> Any:
        return list(value or ()) if dialect.name == "postgresql" else json.dumps(list(value or ()))


class one_of(_Condition):  # noqa: N801 (used as a function of SQL)
    """Whether a column, of numbers or of texts, is one of the ids that the parameter of this name lists."""

    inherit_cache = True
    name = "one_of"

    def __init__(self, column: ColumnElement[Any], parameter: str) -> None:
        of = sa.Integer() if isinstance(column.type, sa.Integer) else sa.Text()
        super().__init__(column, sa.bindparam(parameter, type_=_IdList(of)))


@compiles(one_of, "sqlite")
def _in_json(element: one_of, compiler: Any, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 (both are compiled SQL, no values)


@compiles(one_of, "postgresql")
def _any(element: one_of, compiler: Any, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({ids})"


class not_by_index(FunctionElement[Any]):  # noqa: N801 (used as a function of SQL)
    """A column, for a comparison that is no reason to use an index: SQLite would sort all that it finds by it."""

    inherit_cache = True
    name = "not_by_index"

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(not_by_index, "sqlite")
def _plus(element: not_by_index, compiler: Any, **options: Any) -> str:
    (column,) = (compiler.process(clause, **options) for clause in element.clauses)
    return f"+{column}"


@compiles(not_by_index, "postgresql")
def _as_it_is(element: not_by_index, compiler: Any, **options: Any) -> str:
    (column,) = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column}"


class on_sqlite(_Condition):  # noqa: N801 (used as a function of SQL)
    """A condition that only SQLite is told."""

    inherit_cache = True
    name = "on_sqlite"


@compiles(on_sqlite, "sqlite")
def _told(element: on_sqlite, compiler: Any, **options: Any) -> str:
    (condition,) = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{condition}"


@compiles(on_sqlite, "postgresql")
def _not_told(element: on_sqlite, compiler: Any, **options: Any) -> str:
    return "TRUE"


class InThisOrder(sa.Join):
    """A join whose left side is read first on SQLite, which knows nothing of how many rows each side has."""

    inherit_cache = True


@compiles(InThisOrder, "sqlite")
def _cross_join(element: InThisOrder, compiler: Any, **options: Any) -> str:
    return str(compiler.visit_join(element, **options)).replace(" JOIN ", " CROSS JOIN ", 1)


class ForEach:
    """
    A statement that is run for each of many rows: *statement* makes it of the columns of such a row, `given`.

    All at once on PostgreSQL, which gets a list of each column; one by one on SQLite, whose driver is told directly:
    what SQLAlchemy does for each row would take several times as long as the change itself.
    """

    def __init__(
        self,
        statement: Callable[[Mapping[str, ColumnElement[Any]]], Executable],
        given: Mapping[str, TypeEngine[Any]],
    ) -> None:
        # SQLAlchemy keeps the names of columns to itself.
        self._names = tuple(f"given_{name}" for name in given)
        lists = [sa.bindparam(f"given_{name}", type_=ARRAY(type_)) for name, type_ in given.items()]
        columns = [sa.column(name, type_) for name, type_ in given.items()]
        rows = sa.func.unnest(*lists).table_valued(*columns).render_derived(name="given")
        self._at_once = Change(statement(dict(rows.c.items())))
        fields = {name: sa.bindparam(f"given_{name}", type_=type_) for name, type_ in given.items()}
        self._one_by_one = Change(statement(fields))

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]], **same: object) -> None:
        """Runs it for *rows*, each with the values of `given` as tables keep them; others are the *same* for all."""
        if connection.dialect.name == "postgresql":
            lists = zip(self._names, map(list, zip(*rows, strict=True)), strict=True)
            self._at_once.make(connection, {**dict(lists), **same})
        else:
            places = [(*self._names, *same).index(name) for name in self._one_by_one.places(connection.dialect)]
            values = tuple(same.values())
            in_order = map(itemgetter(*places), (row + values for row in rows))
            self._one_by_one.make_each(connection, list(in_order))
