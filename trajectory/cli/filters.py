"""Options that say which trajectories or turns a command looks at, and the queries they make."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar, get_type_hints

import typer

from trajectory.door import now_utc
from trajectory.errors import ConfigurationError, InvalidQueryError
from trajectory.models import AGENT, EffortLevel, Severity, TrajectoryStatus
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.values import clean_text
from trajectory.when import instant

_LABELS = {
    "spec": "spec_id",
    "agent": "agent_name",
    "run": "run_id",
    "session": "session_id",
    "user": "user_id",
    "status": "status",
}
_MAX_SOURCE = 255
"""So long is the longest name that can be stored."""
_OF_TURNS = ("text", "tool", "effort", "severity", "preference")

Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=0, metavar="N", help="At most so many.")
]
"""How many to give. Use it as `limit: Limit = 20`."""


def source_name(text: str | None) -> str | None:
    """Check a name of who finds questions and violations. Raises `ConfigurationError`."""
    if text is None or (text and len(text) <= _MAX_SOURCE and clean_text(text) == text):
        return text
    raise ConfigurationError(
        f"--source {text[:60]!r} is no name; give 1 to {_MAX_SOURCE} characters that can be "
        f"stored, such as {AGENT}"
    )


Source = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="NAME",
        callback=source_name,
        help="Whose questions and violations are counted.",
    ),
]
"""Whose findings are counted. Use it as `source: Source = AGENT`."""

_Query = TypeVar("_Query", TrajectoryQuery, TurnQuery)


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What the options say. All that is given must be so."""

    spec: Annotated[str | None, typer.Option(metavar="ID", help="Only of this spec.")] = None
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this agent.")] = None
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only with this run id.")] = None
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")] = None
    user: Annotated[str | None, typer.Option(metavar="ID", help="Only of this user.")] = None
    status: Annotated[TrajectoryStatus | None, typer.Option(help="Only those that stand so.")] = (
        None
    )
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only from then on: a date, a time, an age (30d, 12h)."),
    ] = None
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only from before: as for --since.")
    ] = None
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only with this in a prompt or response.")
    ] = None
    tool: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only with a call of this tool.")
    ] = None
    effort: Annotated[
        EffortLevel | None, typer.Option(help="Only with a question of this effort.")
    ] = None
    severity: Annotated[
        Severity | None, typer.Option(help="Only with a violation as bad as this.")
    ] = None
    preference: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only with a violation of this preference.")
    ] = None
    meta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY.PATH=JSON", help="Only with this in the trajectory's metadata; repeatable."
        ),
    ] = None

    def trajectories(self, **more: Any) -> TrajectoryQuery:
        """Ask for the trajectories, created in the range of time; `more` are fields of the query.

        What is said of turns is so of one turn. Raises `ConfigurationError`.
        """
        turn = self._of_turns()
        if turn:
            more["turn"] = _made(TurnQuery, turn)
        return _made(TrajectoryQuery, {**self._labels(), **self._range(), **more})

    def turns(self, **more: Any) -> TurnQuery:
        """Ask for the turns, created in the range of time; `more` are fields of the query.

        What is said of trajectories is so of the turn's. Raises `ConfigurationError`.
        """
        labels = self._labels()
        if labels:
            more["trajectory"] = _made(TrajectoryQuery, labels)
        return _made(TurnQuery, {**self._of_turns(), **self._range(), **more})

    def parents(self, **more: Any) -> TrajectoryQuery:
        """Ask for trajectories by what is said of themselves alone, whenever they were created."""
        return _made(TrajectoryQuery, {**self._labels(), **more})

    def own_turns(self, **more: Any) -> TurnQuery:
        """Ask for turns by what is said of themselves alone; their trajectories are looked up."""
        return _made(TurnQuery, {**self._of_turns(), **self._range(), **more})

    def _labels(self) -> dict[str, Any]:
        given = {field: getattr(self, name) for name, field in _LABELS.items()}
        given["metadata"] = metadata(self.meta) if self.meta else None
        return {field: value for field, value in given.items() if value is not None}

    def _of_turns(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in _OF_TURNS}
        return {name: value for name, value in given.items() if value is not None}

    def _range(self) -> dict[str, datetime]:
        now = now_utc()
        return {
            name: instant(text, now, f"--{name}")
            for name, text in (("since", self.since), ("until", self.until))
            if text is not None
        }


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all options of `Filters`; it takes them as one argument, `chosen`.

    They stand in its help where `chosen` stands among its parameters, which is keyword-only.
    """
    own = inspect.signature(command, eval_str=True)
    hints = get_type_hints(Filters, include_extras=True)
    names = [field.name for field in fields(Filters)]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        if parameter.name != "chosen":
            parameters.append(parameter)
            continue
        parameters.extend(
            parameter.replace(name=name, annotation=hints[name], default=None) for name in names
        )

    @functools.wraps(command)
    def with_options(*args: Any, **given: Any) -> Any:
        chosen = Filters(**{name: given.pop(name) for name in names})
        return command(*args, chosen=chosen, **given)

    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    del with_options.__wrapped__
    return with_options


def metadata(texts: list[str]) -> dict[tuple[str, ...], Any]:
    """Read `key.path=JSON`, or `["key", "path"]=JSON` for keys with dots or equals signs.

    What is no JSON and doesn't begin like an object, a list or a text is taken as a text. Raises
    `ConfigurationError`.
    """
    wanted: dict[tuple[str, ...], Any] = {}
    for text in texts:
        path, value = _path_and_value(text)
        if path in wanted:
            raise ConfigurationError(f"--meta names {'.'.join(path)[:60]!r} twice; give it once")
        wanted[path] = _json(value)
    return wanted


def _path_and_value(text: str) -> tuple[tuple[str, ...], str]:
    if text.startswith("["):
        try:
            keys, end = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            _refuse_meta(text)
        path, rest = tuple(keys), text[end:]
        if not all(isinstance(key, str) for key in path):
            _refuse_meta(text)
    else:
        name, sign, rest = text.partition("=")
        path, rest = tuple(name.split(".")), sign + rest
        if not name:
            _refuse_meta(text)
    if not path or not rest.startswith("="):
        _refuse_meta(text)
    return path, rest[1:]


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        if text.lstrip().startswith(("{", "[", '"')):
            _refuse_meta(text)
        return text


def _no_json(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_meta(text: str) -> NoReturn:
    raise ConfigurationError(
        f"--meta {text[:60]!r} can't be read; give a path and a value, as in branch.name=main, "
        f'or ["a.b", "c"]={{"x": 1}}'
    ) from None


def _made(kind: type[_Query], given: dict[str, Any]) -> _Query:
    try:
        return kind(**given)
    except InvalidQueryError as error:
        raise ConfigurationError(str(error)) from None
