"""
Questions that are asked of the driver itself, again and again, and changes that are made so.

SQLAlchemy says what is asked; it compiles the statement, once for each kind of database, and knows how each
parameter and each column is converted. To let it execute the statement too would cost more than the answer does:
docs/decisions/0022.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Executable, Index, Select
    from sqlalchemy.engine import Dialect

    Converted = Callable[[Any], Any]


Found = TypeVar("Found")


class _Prepared(NamedTuple):
    """
    A statement as a driver takes it: its text, the names of its parameters unless they go by their places, and each
    parameter and column with what converts it, if anything does; and the values that it has of itself.
    """

    text: str
    names: Sequence[str]
    parameters: Sequence[tuple[str, Converted | None]]
    columns: Sequence[Converted | None]
    fixed: Mapping[str, Any]


class _Statement:
    """What is said to a driver, and how."""

    def __init__(self, statement: Executable) -> None:
        self.statement = statement
        self._prepared: dict[str, _Prepared] = {}

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """The driver's cursor."""
        dialect = connection.dialect
        prepared = self._for(dialect)
        values = {**prepared.fixed, **values} if prepared.fixed else values
        given = [convert(values[name]) if convert else values[name] for name, convert in prepared.parameters]
        parameters = dict(zip(prepared.names, given, strict=True)) if prepared.names else given
        for tell in connection.dispatch.before_cursor_execute:  # as SQLAlchemy does: someone may listen
            tell(connection, None, prepared.text, parameters, None, False)
        driver: Any = connection.connection.driver_connection
        try:
            return driver.execute(prepared.text, parameters)
        except dialect.loaded_dbapi.Error as error:
            raise _told(connection, prepared.text, error) from error

    def text(self, dialect: Dialect) -> str:
        """The statement as it is asked."""
        return self._for(dialect).text

    def _text(self, compiled: Any, dialect: Dialect) -> str:
        return str(compiled.string)

    def _for(self, dialect: Dialect) -> _Prepared:
        return self._prepared.get(dialect.name) or self._prepare(dialect)

    def _prepare(self, dialect: Dialect) -> _Prepared:
        statement: Any = self.statement  # Any: all that can be executed can be compiled, and the types do not say so
        compiled = statement.compile(dialect=dialect)
        names = list(compiled.positiontup or compiled.binds)
        types = {name: bind.type.dialect_impl(dialect) for name, bind in compiled.binds.items()}
        prepared = _Prepared(
            self._text(compiled, dialect),
            names=() if compiled.positional else names,
            parameters=[(name, types[name].bind_processor(dialect)) for name in names],
            columns=[
                column.type.dialect_impl(dialect).result_processor(dialect, None)
                for column in getattr(self.statement, "selected_columns", ())
            ],
            fixed={name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        )
        self._prepared[dialect.name] = prepared
        return prepared


class MoreRows(Exception):
    """There are more rows than were asked for at most."""


class Question(_Statement):
    """
    A SELECT, and how it is asked.

    Where it reads a table by an *index*, SQLite is told so: it knows nothing of how many rows there are.
    """

    def __init__(self, statement: Select[Any], index: Index | None = None) -> None:
        super().__init__(statement)
        self._index = index

    def _text(self, compiled: Any, dialect: Dialect) -> str:
        text = super()._text(compiled, dialect)
        if self._index is None or self._index.table is None or dialect.name != "sqlite":
            return text
        source = f"FROM {self._index.table.name} "
        return text.replace(source, f"{source}INDEXED BY {self._index.name} ", 1)  # SQLAlchemy has no words for it

    def ask(
        self, connection: Connection, values: Mapping[str, Any], most: int | None = None
    ) -> list[tuple[Any, ...]]:
        """
        All rows, their columns converted. Raises sqlalchemy.exc.DBAPIError as SQLAlchemy would.

        Where there are more than *most*, raises MoreRows, and the others are not read.
        """
        cursor = self._execute(connection, values)
        try:
            rows: list[tuple[Any, ...]] = cursor.fetchall() if most is None else cursor.fetchmany(most + 1)
        except connection.dialect.loaded_dbapi.Error as error:
            raise _told(connection, self.text(connection.dialect), error) from error
        if most is not None and len(rows) > most:
            cursor.close()
            raise MoreRows
        converted = self._for(connection.dialect).columns
        if not rows or not any(converted):
            return rows
        columns = zip(converted, zip(*rows, strict=True), strict=True)
        return list(zip(*(map(convert, column) if convert else column for convert, column in columns), strict=True))


class Change(_Statement):
    """An INSERT or UPDATE, and how it is made."""

    def make(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Raises sqlalchemy.exc.DBAPIError as SQLAlchemy would."""
        self._execute(connection, values)

    def make_each(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """The same with each of *rows*, whose values stand as the driver takes them, in the order of `places`."""
        text = self.text(connection.dialect)
        for tell in connection.dispatch.before_cursor_execute:
            tell(connection, None, text, rows, None, True)
        driver: Any = connection.connection.driver_connection
        try:
            driver.executemany(text, rows)
        except connection.dialect.loaded_dbapi.Error as error:
            raise _told(connection, text, error) from error

    def places(self, dialect: Dialect) -> list[str]:
        """The names of the parameters, in the order in which a driver that knows them by their places wants them."""
        return [name for name, _ in self._for(dialect).parameters]


#: SQLite's number for the state of the database: the same for as long as no other connection has committed.
_STATE = "PRAGMA data_version"

#: Under what a connection keeps what lasts, and how much of it.
_LASTING = "ibt_lasting"
_MOST_LASTING = 4096


def lasting(connection: Connection, key: Hashable, ask: Callable[[], Found]) -> Found:
    """
    What *ask* finds on this *connection*, which is one that only reads: it would not be told of its own commits.

    SQLite says in a third of the time whether anything was committed since the same *key* was asked for; where
    nothing was, what was found then is found again: docs/decisions/0027. Raises sqlalchemy.exc.DBAPIError.
    """
    if connection.dialect.name != "sqlite":
        return ask()
    driver: Any = connection.connection.driver_connection
    try:
        (state,) = driver.execute(_STATE).fetchone()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, _STATE, error) from error
    kept: dict[Hashable, Any] = connection.info.setdefault(_LASTING, {})  # Any: each key has its own
    if kept.get(_STATE) != state or len(kept) > _MOST_LASTING:
        kept.clear()
        kept[_STATE] = state  # as of before: what is committed while *ask* looks is seen by the next
    found: Found | None = kept.get(key)
    if found is None:
        found = kept[key] = ask()
    return found


@contextmanager
def told(connection: Connection, text: str) -> Iterator[None]:
    """A block in which the driver of *connection* does *text*. Raises sqlalchemy.exc.DBAPIError."""
    try:
        yield
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, text, error) from error


def command(connection: Connection, text: str) -> None:
    """Has the driver of *connection* do *text*, as `told` does."""
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(text)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, text, error) from error


def _told(connection: Connection, text: str, error: Exception) -> BaseException:
    dialect: Any = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection.driver_connection, None)
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(
        text, None, error, dialect.loaded_dbapi.Error, connection_invalidated=lost, dialect=dialect
    )
