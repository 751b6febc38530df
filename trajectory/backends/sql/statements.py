"""Statements, compiled once: their text and how a row of a model becomes its parameters.

Compiling an INSERT takes longer than storing a hundred rows with it. So the text is kept for each
table and set of used columns, and the drivers get it as it is, with tuples. An INSERT names only
the columns that a batch uses: unused nullable ones cost nothing unless they are bound to NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import sqlalchemy as sa

from trajectory.backends.sql.schema import (
    Base,
    MessageRow,
    QuestionRow,
    ToolCallRow,
    TrajectoryRow,
    TurnRow,
    ViolationRow,
)
from trajectory.errors import TurnKey

MANY = 25
"""Rows in one INSERT where each call of the driver costs: 5 of them for 1000 parameters at most."""

Row = Sequence[Any]
Processor = Callable[[Any], Any]
_Key = TypeVar("_Key", UUID, TurnKey)


class Statement(NamedTuple):
    """An INSERT, or an UPDATE, of some columns of a table."""

    text: str
    columns: tuple[str, ...]
    processors: tuple[tuple[int, Processor], ...]
    """Which parameters need a change for the driver, by index."""
    table: str | None
    """What an INSERT fills; None for an UPDATE."""
    of_many: str = ""
    """The same INSERT of `MANY` rows, for a driver that pays for each call; else nothing."""

    def bind(self, values: Iterable[Any]) -> Row:
        """Turn values, in the order of `columns`, into parameters."""
        row = list(values)
        for index, process in self.processors:
            row[index] = process(row[index])
        return row

    def bind_all(self, values: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Turn values by column into parameters; column by column, at a third of the price."""
        columns: list[Iterable[Any]] = [[row[name] for row in values] for name in self.columns]
        for index, process in self.processors:
            columns[index] = map(process, columns[index])
        return list(zip(*columns, strict=True))


class _Compiled(NamedTuple):
    """A SELECT or DELETE by a number of keys, without them."""

    text: str
    names: tuple[str, ...]
    processors: tuple[tuple[int, Processor], ...]


class Select(NamedTuple):
    """A SELECT of all columns of a table."""

    text: str
    parameters: Row
    names: tuple[str, ...]
    processors: tuple[tuple[int, Processor], ...]

    def mappings(self, rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """Turn the driver's rows into values by column."""
        made = []
        for row in rows:
            values = list(row)
            for index, process in self.processors:
                values[index] = process(values[index])
            made.append(dict(zip(self.names, values, strict=True)))
        return made


def _table(row: type[Base]) -> sa.Table:
    return cast("sa.Table", row.__table__)


TRAJECTORIES = _table(TrajectoryRow)
TURNS = _table(TurnRow)
MESSAGES = _table(MessageRow)
TOOL_CALLS = _table(ToolCallRow)
QUESTIONS = _table(QuestionRow)
VIOLATIONS = _table(ViolationRow)


def _remembering(process: Processor) -> Processor:
    """Keep the last answer: the turns of a run come one after another, with the same id."""
    last: tuple[Any, Any] = (None, None)

    def again(value: Any) -> Any:
        nonlocal last
        known, answer = last
        if value is not known:
            answer = process(value)
            last = (value, answer)
        return answer

    return again


class Statements:
    """The statements of one dialect."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._inserts: dict[tuple[str, frozenset[str]], Statement] = {}
        self._updates: dict[frozenset[str], Statement] = {}
        self._selects: dict[tuple[str, str, int], _Compiled] = {}
        self.compiled = 0
        """How many statements were compiled; at rest it doesn't grow."""

    def insert(self, table: sa.Table, columns: frozenset[str]) -> Statement:
        """Give the INSERT of some columns; its `columns` has their order."""
        key = (table.name, columns)
        found = self._inserts.get(key)
        if found is None:
            values = {name: sa.bindparam(name, type_=table.c[name].type) for name in columns}
            found = self._compile(sa.insert(table).values(values), table)
            if self._dialect.name == "sqlite":
                # Repeated, since to compile it would take 16 times as long as the one row.
                head, one = found.text.split(" VALUES ")
                found = found._replace(of_many=f"{head} VALUES {', '.join([one] * MANY)}")
            self._inserts[key] = found
        return found

    def update_trajectory(self, changed: frozenset[str]) -> Statement:
        """Give the UPDATE of some columns of a trajectory; its id is the last parameter."""
        found = self._updates.get(changed)
        if found is None:
            table = TRAJECTORIES
            values = {name: sa.bindparam(name, type_=table.c[name].type) for name in changed}
            by_id = table.c.id == sa.bindparam("key", type_=table.c.id.type)
            statement = sa.update(table).where(by_id).values(values)
            found = self._updates[changed] = self._compile(statement, table)
        return found

    def _compile(self, statement: Any, table: sa.Table) -> Statement:
        compiled = statement.compile(dialect=self._dialect)
        self.compiled += 1
        columns = tuple(name if name != "key" else "id" for name in compiled.positiontup)
        processors = self._processors(table, columns, binding=True)
        filled = table.name if compiled.isinsert else None
        return Statement(str(compiled), columns, processors, filled)

    def _processors(
        self, table: sa.Table, columns: Iterable[str], *, binding: bool
    ) -> tuple[tuple[int, Processor], ...]:
        made = []
        for index, name in enumerate(columns):
            type_ = table.c[name].type
            if isinstance(type_, sa.Float):
                continue  # both drivers give and take floats
            impl = type_.dialect_impl(self._dialect)
            process: Processor | None
            process = (
                impl.bind_processor(self._dialect)
                if binding
                else impl.result_processor(self._dialect, None)
            )
            if process is not None and binding and isinstance(type_, sa.Uuid):
                process = _remembering(process)
            if process is not None:
                made.append((index, process))
        return tuple(made)

    def trajectories(self, ids: Sequence[UUID]) -> Select:
        """Give the SELECT of some trajectories, locked against other writers."""
        table = TRAJECTORIES

        def make(keys: list[UUID]) -> Any:
            # Ordered, so that two who lock the same rows don't wait for each other.
            query = sa.select(table).where(table.c.id.in_(keys))
            return query.order_by(table.c.id).with_for_update()

        keys = _padded(ids)
        return self._by_keys("select", table, keys, make, self._ids(keys))

    def of_turns(self, table: sa.Table, keys: Sequence[TurnKey]) -> Select:
        """Give the SELECT of all rows of a table that belong to some turns, in key order."""

        def make(keys: list[TurnKey]) -> Any:
            key = sa.tuple_(table.c.trajectory_id, table.c.turn_number)
            return sa.select(table).where(key.in_(keys)).order_by(*table.primary_key)

        padded = _padded(keys)
        ids = self._ids([id_ for id_, _number in padded])
        pairs = zip(ids, (number for _id, number in padded), strict=True)
        parameters = tuple(value for pair in pairs for value in pair)
        return self._by_keys("select", table, padded, make, parameters)

    def delete(self, ids: Sequence[UUID]) -> Select:
        """Give the DELETE of some trajectories, which returns their ids."""
        table = TRAJECTORIES

        def make(keys: list[UUID]) -> Any:
            return sa.delete(table).where(table.c.id.in_(keys)).returning(table.c.id)

        keys = _padded(ids)
        return self._by_keys("delete", table, keys, make, self._ids(keys))

    def rare(self, statement: Any) -> Select:
        """Compile a statement on trajectories that is too rare to be kept, with its values."""
        compiled: Any = statement.compile(dialect=self._dialect)
        self.compiled += 1
        parameters = []
        for name in compiled.positiontup:
            type_ = compiled.binds[name].type.dialect_impl(self._dialect)
            process = type_.bind_processor(self._dialect)
            value = compiled.params[name]
            parameters.append(value if process is None else process(value))
        names = tuple(statement.exported_columns.keys())
        processors = self._processors(TRAJECTORIES, names, binding=False)
        return Select(str(compiled), tuple(parameters), names, processors)

    def _ids(self, ids: Iterable[UUID]) -> Row:
        process = TRAJECTORIES.c.id.type.dialect_impl(self._dialect).bind_processor(self._dialect)
        return tuple(ids) if process is None else tuple(process(id_) for id_ in ids)

    def _by_keys(
        self,
        verb: str,
        table: sa.Table,
        keys: list[_Key],
        make: Callable[[list[_Key]], Any],
        parameters: Row,
    ) -> Select:
        place = (verb, table.name, len(keys))
        found = self._selects.get(place)
        if found is None:
            statement = make(keys)
            compiled = statement.compile(
                dialect=self._dialect, compile_kwargs={"render_postcompile": True}
            )
            self.compiled += 1
            names = tuple(statement.exported_columns.keys())
            processors = self._processors(table, names, binding=False)
            found = self._selects[place] = _Compiled(str(compiled), names, processors)
        return Select(found.text, parameters, found.names, found.processors)


def _padded(given: Sequence[_Key]) -> list[_Key]:
    """Repeat the last key up to a power of two: so few texts serve any number of keys."""
    keys = list(given)
    missing = (1 << (len(keys) - 1).bit_length()) - len(keys)
    keys.extend(keys[-1:] * missing)
    return keys
