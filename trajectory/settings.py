"""How a logger behaves: `LoggerSettings`, from code, the environment or a TOML file."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trajectory.errors import ConfigurationError

TABLE = ("ppp", "trajectory")
"""Where the settings stand in a TOML file: `[ppp.trajectory]`."""

MIB = 2**20


class Overflow(StrEnum):
    """What `log_turn` does when the buffer is full."""

    WAIT = "wait"
    """Wait for room, up to `log_timeout_ms`."""
    RAISE = "raise"
    """Raise `BufferFullError` at once."""
    DROP_NEWEST = "drop_newest"
    """Return `Dropped`, and count it."""
    SPILL = "spill"
    """Accept into the journal alone, up to `journal_max_bytes`; then wait for room."""


class OnFailure(StrEnum):
    """What the next call does after the writer met a failure for good."""

    RAISE = "raise"
    """Raise `WriteFailedError`, from the original cause."""
    WARN = "warn"
    """Nothing: one line was logged, later turns are dropped and counted."""


class Durability(StrEnum):
    """What the return of `log_turn` promises."""

    QUEUED = "queued"
    """The turn is in memory, and will be stored unless the process dies first."""
    JOURNALED = "journaled"
    """It is in the journal too, and survives the end of the process, however it comes."""
    SYNCED = "synced"
    """The journal has reached the disk: it survives a power loss as well."""
    STORED = "stored"
    """The turn is committed, as durably as the backend's capabilities say."""


class LoggerSettings(BaseSettings):
    """How a logger behaves. Frozen; checked as a whole when made.

    Arguments go before the environment (`TRAJECTORY_BUFFER_SIZE`, ...), which goes before the TOML
    file of `from_toml`, which goes before the defaults. Raises `ConfigurationError` for an unknown
    setting, a value out of range or a contradiction.
    """

    model_config = SettingsConfigDict(
        env_prefix="TRAJECTORY_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    buffer_size: Annotated[int, Field(ge=1)] = 10
    """Turns to buffer before a flush starts."""
    flush_interval_ms: Annotated[float, Field(gt=0, le=86_400_000)] = 500
    """A turn is never older than this before its flush starts."""
    channel_capacity: Annotated[int, Field(ge=1)] = 100
    """Backpressure limit: turns that were accepted and are not stored."""
    channel_bytes: Annotated[int, Field(ge=1)] = 64 * MIB
    """The same limit in bytes. A turn larger than this is admitted alone."""
    max_turn_bytes: Annotated[int, Field(ge=1)] = 16 * MIB
    """A larger turn is refused with `InvalidTurnError`."""
    durability: Durability = Durability.JOURNALED
    """What the return of `log_turn` promises. A backend in memory gets `queued`."""
    overflow: Overflow = Overflow.WAIT
    """What a full buffer does. Unless given, `spill` for a server database with a journal."""
    journal_dir: Path | None = None
    """Where journals are kept. None: beside a database file, in the user's state folder for a
    server."""
    journal_max_bytes: Annotated[int, Field(ge=1)] = 256 * MIB
    """How much the journal may take on disk before `spill` waits for room."""
    on_failure: OnFailure = OnFailure.RAISE
    log_timeout_ms: Annotated[float, Field(gt=0)] = 30_000
    """How long `log_turn` waits for room (or, at level `stored`, for the commit)."""
    flush_timeout_ms: Annotated[float, Field(gt=0)] = 30_000
    close_timeout_ms: Annotated[float, Field(gt=0)] = 5_000
    retry_initial_ms: Annotated[float, Field(gt=0)] = 100
    """The first pause after the database was away; each next one is twice as long."""
    retry_max_ms: Annotated[float, Field(gt=0)] = 2_000
    """The longest pause between two tries."""
    extract_questions: bool = False
    """Look for questions in the responses of stored turns, and log them as facts."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigurationError(_explain(error, settings)) from None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.buffer_size > self.channel_capacity:
            raise ValueError(
                f"buffer_size ({self.buffer_size}) is above channel_capacity "
                f"({self.channel_capacity}), so a flush by size could never start; lower "
                f"buffer_size or raise channel_capacity"
            )
        if self.overflow is Overflow.SPILL and self.durability is Durability.QUEUED:
            raise ValueError(
                'overflow "spill" needs a journal, and durability "queued" has none; set '
                'durability to "journaled"'
            )
        if self.retry_initial_ms > self.retry_max_ms:
            raise ValueError(
                f"retry_initial_ms ({self.retry_initial_ms:g}) is above retry_max_ms "
                f"({self.retry_max_ms:g})"
            )
        return self

    @classmethod
    def from_toml(cls, path: str | Path, **settings: Any) -> Self:
        """Read the table `[ppp.trajectory]` of a file; arguments and environment go before it.

        A file without that table gives the defaults. Raises `ConfigurationError` where the file
        can't be read, isn't TOML, or has an unknown setting in the table.
        """
        table = _read_table(Path(path))

        class FromToml(cls):  # type: ignore[misc, valid-type]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                **_others: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return init_settings, env_settings, _Table(settings_cls, table)

        try:
            return cls(**FromToml(**settings).model_dump(exclude_unset=True))
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}, [{'.'.join(TABLE)}]: {error}") from None

    @classmethod
    def low_latency(cls, **settings: Any) -> Self:
        """Store each turn at once (1 turn, 100 ms): the smallest loss window."""
        return cls(**{"buffer_size": 1, "flush_interval_ms": 100, **settings})

    @classmethod
    def balanced(cls, **settings: Any) -> Self:
        """Batch ten turns or half a second (10 turns, 500 ms): the defaults."""
        return cls(**{"buffer_size": 10, "flush_interval_ms": 500, **settings})

    @classmethod
    def high_throughput(cls, **settings: Any) -> Self:
        """Batch more for the least work a turn (50 turns, 1000 ms)."""
        return cls(**{"buffer_size": 50, "flush_interval_ms": 1000, **settings})


def checked_settings(settings: object) -> LoggerSettings:
    """Give the settings, the default ones for None. Raises `ConfigurationError`."""
    if settings is None:
        return LoggerSettings()
    if not isinstance(settings, LoggerSettings):
        raise ConfigurationError(
            f"settings must be a LoggerSettings, not a {type(settings).__name__}; for a dict write "
            f"LoggerSettings(**values)"
        )
    return settings


class _Table(PydanticBaseSettingsSource):
    """The TOML table, as the source of lowest precedence."""

    def __init__(self, settings_cls: type[BaseSettings], table: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._table = table

    def get_field_value(self, _field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._table.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._table


def _read_table(path: Path) -> dict[str, Any]:
    try:
        node = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"can't read the settings file {path}: {error.strerror}; check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    for name in TABLE:
        node = node.get(name, {})
        if not isinstance(node, dict):
            raise ConfigurationError(f"{path}: [{'.'.join(TABLE)}] must be a table")
    return node


def _explain(error: ValidationError, given: dict[str, Any]) -> str:
    """Say what is wrong with which setting, and name its variable where it comes from there."""
    prefix = LoggerSettings.model_config["env_prefix"]
    variables = {name.upper() for name in os.environ}
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = f"unknown setting; known are {', '.join(LoggerSettings.model_fields)}"
        variable = f"{prefix}{name}".upper()
        if name and name not in given and variable in variables:
            name = f"{variable}, {name}"
        problems.append(f"{name}: {text}" if name else text)
    return "; ".join(problems)
