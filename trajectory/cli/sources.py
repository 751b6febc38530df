"""Which files a command reads: paths, patterns and folders that a person names, or their own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from trajectory.cli.input import STDIN
from trajectory.errors import ConfigurationError

_WILD = frozenset("*?[")


class Source(NamedTuple):
    """Something to read: a path or standard input. `size` is None where it isn't known."""

    path: str
    size: int | None

    @property
    def label(self) -> str:
        """How it is called in messages."""
        return "standard input" if self.path == STDIN else self.path


def sources(names: Sequence[str], suffixes: Sequence[str]) -> list[Source]:
    """Find what is to be read, each file once, without opening any.

    A folder stands for all files below it that end with one of the suffixes, a pattern for the
    files that match it (`**` for any folders). Raises `ConfigurationError` for a path that isn't
    there or can't be read, or a folder below it that can't, for a pattern without a match and for a
    folder without a file.
    """
    found: dict[str, Source] = {}
    for name in names:
        for source in _named(name, suffixes):
            found.setdefault(source.path, source)
    return list(found.values())


def _named(name: str, suffixes: Sequence[str]) -> Iterator[Source]:
    if name == STDIN:
        yield Source(name, None)
        return
    try:
        state = Path(name).stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL
        if not _WILD.isdisjoint(name):
            yield from _matching(name)
            return
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigurationError(_unreadable(name, reason or "no file has such a name")) from None
    if stat.S_ISDIR(state.st_mode):
        within = list(existing(_below(name, tuple(suffixes))))
        if not within:
            raise ConfigurationError(
                f"the folder {name} has no file that ends with {' or '.join(suffixes)}; name files"
            )
        yield from within
        return
    if not os.access(name, os.R_OK):
        raise ConfigurationError(_unreadable(name, "Permission denied"))
    yield Source(name, state.st_size if stat.S_ISREG(state.st_mode) else None)


def _unreadable(name: str, reason: str) -> str:
    return f"can't read {name}: {reason}; give the path of a file, or {STDIN} for standard input"


def _matching(pattern: str) -> Iterator[Source]:
    path = Path(pattern).expanduser()
    try:
        base = Path(path.anchor)
        matched = list(existing(sorted(base.glob(str(path.relative_to(base))))))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"the pattern {pattern} can't be used: {error}") from None
    if not matched:
        raise ConfigurationError(f"no file matches {pattern}; give the path of a file")
    yield from matched


def _below(folder: str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=_cant_look):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if name.endswith(suffixes))


def _cant_look(error: OSError) -> NoReturn:
    """Tell of a folder whose files would be passed over in silence."""
    raise ConfigurationError(
        f"can't look into the folder {error.filename}: {error.strerror or error}; make it "
        f"readable, or name the files"
    ) from error


def existing(paths: Iterable[Path]) -> Iterator[Source]:
    """Give those of the paths that are files, with their sizes."""
    for path in paths:
        try:
            state = path.stat()
        except OSError:  # gone since, or a link to nothing
            continue
        if stat.S_ISREG(state.st_mode):
            yield Source(str(path), state.st_size)
