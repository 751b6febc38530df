"""The door: making a value is the one place where it is checked.

What passes is storable and comes back equal on every backend; what does not raises
`InvalidTurnError`, which names the field and never quotes it. Text with NUL or lone surrogates is
cleaned (see `trajectory.values`), and the value says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from trajectory.errors import InvalidTurnError
from trajectory.values import (
    INT64_MAX,
    FrozenDict,
    FrozenList,
    RefusedValueError,
    clean_text,
    freeze_json,
    is_storable,
    text_bytes,
)

CLEANED_KEY = "trajectory.cleaned"
"""The metadata key that lists the fields whose text was cleaned."""

_EMPTY = FrozenDict()
INT32_MAX = 2**31 - 1
MAX_LABEL = 1024
"""Characters of a label."""

_MAX_INDEXED_BYTES = 1024
_PLAIN = frozenset({int, float, bool, type(None), UUID, datetime, tuple})


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 once in UTC") from None


def now_utc() -> datetime:
    """Give the instant."""
    return datetime.now(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A timezone-aware datetime, kept in UTC. A naive one is refused: whose clock would it be?"""


def no_metadata() -> FrozenDict:
    """Give the one empty object."""
    return _EMPTY  # a plain default would be deep-copied for every turn


def _fits_an_index(value: str) -> str:
    if text_bytes(value) > _MAX_INDEXED_BYTES:
        raise ValueError(f"takes more than {_MAX_INDEXED_BYTES} bytes of UTF-8")
    return value


def _object(value: Any) -> FrozenDict:
    if not isinstance(value, FrozenDict):
        raise ValueError("must be an object (a dict)")  # noqa: TRY004 - Pydantic wants ValueError
    return value


def _parts(value: Any) -> FrozenList:
    if not isinstance(value, FrozenList):
        raise ValueError("must be text or a list of parts")  # noqa: TRY004
    return value


Object = Annotated[Mapping[str, Any], PlainValidator(_object)]
Parts = Annotated[Sequence[Any], PlainValidator(_parts)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TurnNumber = Annotated[int, Field(ge=0, le=INT32_MAX)]
Position = Annotated[int, Field(ge=0, le=INT64_MAX)]
Label = Annotated[str, Field(max_length=MAX_LABEL)]
IndexedLabel = Annotated[Label, AfterValidator(_fits_an_index)]
"""A label that is searched by. Postgres takes 2.7 kB in an index, and one index has two of them."""
Source = Annotated[str, Field(min_length=1, max_length=255)]


class _Hidden:
    """Stands for content in a repr: says how much there is."""

    def __init__(self, content: Any) -> None:
        what = "characters" if isinstance(content, str) else "members"
        self._text = f"<{len(content)} {what}>" if hasattr(content, "__len__") else "<a value>"

    def __repr__(self) -> str:
        return self._text


class Value(BaseModel):
    """What all values share: frozen, checked, cleaned."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="constants"
    )

    __slots__ = ("_cleaned",)

    _json_fields: ClassVar[frozenset[str]] = frozenset()
    _child_fields: ClassVar[frozenset[str]] = frozenset()
    _content_fields: ClassVar[frozenset[str]] = frozenset()
    """What was said: it stands in no repr, and so in no log, traceback or failed assertion."""

    def __init__(self, /, **fields: Any) -> None:
        # The hot path of logging: a turn is made here. Its cost is the validation itself, and one
        # look at each value that was given.
        cleaned: list[str] = []
        json_fields = self._json_fields
        for name, value in fields.items():
            kind = value.__class__
            if name in json_fields:
                fields[name] = self._freeze(name, value, cleaned)
            elif kind is str:
                if "\0" in value or not (value.isascii() or is_storable(value)):
                    fields[name] = clean_text(value)
                    cleaned.append(name)
            elif kind not in _PLAIN:
                fields[name] = self._plain(name, value, cleaned)
        try:
            # What BaseModel.__init__ does, without packing the fields once more.
            self.__pydantic_validator__.validate_python(fields, self_instance=self)
        except ValidationError as error:
            raise InvalidTurnError(explained(type(self).__name__, error)) from None
        if not self._child_fields.isdisjoint(fields):
            cleaned += (
                name
                for name in self._child_fields
                if any(child.cleaned for child in getattr(self, name))
            )
        if cleaned:
            self._mark_cleaned(cleaned)

    def _plain(self, name: str, value: Any, cleaned: list[str]) -> Any:
        """Look at a value of an unusual type."""
        if isinstance(value, str):
            if not is_storable(value):
                cleaned.append(name)
            return clean_text(value)
        if isinstance(value, bytes | bytearray):
            # Pydantic would decode them, past the checks above.
            raise InvalidTurnError(f"{type(self).__name__}.{name} is bytes, not text; decode it")
        if isinstance(value, Value) and name in self._child_fields:
            # Pydantic would take its fields for a list.
            raise InvalidTurnError(
                f"{type(self).__name__}.{name} is one {type(value).__name__}, not a list of them"
            )
        return value

    def _freeze(self, name: str, value: Any, cleaned: list[str]) -> Any:
        try:
            frozen, dirty = freeze_json(value)
        except RefusedValueError as error:
            raise InvalidTurnError(f"{type(self).__name__}.{name} {error}") from None
        if dirty:
            cleaned.append(name)
        return frozen

    def _mark_cleaned(self, names: list[str]) -> None:
        """Remember the cleaned fields; where there is metadata, list them there for readers."""
        object.__setattr__(self, "_cleaned", tuple(sorted(names)))
        if "metadata" in self.__dict__:
            before = self.__dict__["metadata"]
            earlier = before.get(CLEANED_KEY)
            marks = sorted({*names, *(earlier if isinstance(earlier, list) else ())})
            self.__dict__["metadata"] = freeze_json({**before, CLEANED_KEY: marks})[0]
            self.__pydantic_fields_set__.add("metadata")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _Hidden(value) if name in self._content_fields and value else value

    @property
    def cleaned(self) -> tuple[str, ...]:
        """The fields whose text held NUL or lone surrogates, which are U+FFFD now."""
        return getattr(self, "_cleaned", ())

    def replace(self, **changes: Any) -> Self:
        """Make a copy with other field values; it passes the same door."""
        made = type(self).model_fields
        given = {
            name: value
            for name, value in self.__dict__.items()
            if name in self.__pydantic_fields_set__ or made[name].default_factory is not None
        }
        return type(self)(**{**given, **changes})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Make a copy, with other field values where `update` has them, as `replace` does.

        Pydantic's own would not look at them, and what it let in could stop the writer.
        """
        return self.replace(**update) if update else self

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Make a value from a dict. Raises `InvalidTurnError`."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise InvalidTurnError(explained(cls.__name__, error)) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Make a value from JSON, as `model_dump_json` writes it. Raises `InvalidTurnError`."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise InvalidTurnError(explained(cls.__name__, error)) from None

    # Nothing in a value can change, so it is its own copy, and keeps what `cleaned` says.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any] | None = None) -> Self:
        return self

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "_cleaned": self.cleaned}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        if cleaned := state.get("_cleaned"):
            object.__setattr__(self, "_cleaned", cleaned)


def explained(model: str, error: ValidationError) -> str:
    """Say which fields are wrong and why, with no word of their content."""
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        # A name from outside may be anything, and of any length.
        place = ".".join(ascii(str(part))[1:-1][:60] for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "timezone_aware":
            text = "must carry a timezone, for example datetime.now(UTC)"
        elif problem["type"] == "extra_forbidden":
            text = f"is not a field of {model}"
        elif problem["type"] == "missing":
            text = "is required"
        if place:
            problems.append(f"{model}.{place}: {text}")
        else:
            # Refused by our own `__init__`, the text names the model already.
            problems.append(text if text.startswith(f"{model}.") else f"{model}: {text}")
    shown = "; ".join(problems[:5])
    return shown + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
