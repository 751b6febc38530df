"""Where a backend's journal and dead letters lie, and what that leaves of the settings."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from trajectory.backend import StorageBackend, Survives
from trajectory.errors import ConfigurationError
from trajectory.settings import Durability, LoggerSettings, Overflow

SUFFIX = ".turns"
"""Added to the name of a database file: no name that SQLite uses."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Placement:
    """What holds for one logger, once its backend is known."""

    folder: Path | None
    """For the journal and dead letters; None for a backend that nothing outlives."""
    settings: LoggerSettings
    """As given, with what the backend decides."""

    @property
    def journals(self) -> bool:
        """Whether there is a journal."""
        return self.folder is not None and self.settings.durability is not Durability.QUEUED


def folder_of(identity: str | None, journal_dir: Path | None) -> Path | None:
    """Give the folder of a backend by its `Capabilities.identity`.

    Beside a database file, else in the user's state folder, under a name that only this place has;
    with `journal_dir`, there.
    """
    if identity is None:
        return journal_dir
    if journal_dir is None and Path(identity).is_absolute():
        return Path(identity + SUFFIX)
    parent = journal_dir or platformdirs.user_state_path("trajectory") / "journals"
    return parent / hashlib.sha256(identity.encode()).hexdigest()[:32]


def placed(backend: StorageBackend, settings: LoggerSettings) -> Placement:
    """Decide for a backend. Raises `ConfigurationError` for `spill` without a place to spill to.

    Nobody gets less than was promised in silence: where there is no place for a journal, the level
    is `queued`, and that is logged.
    """
    identity = backend.capabilities.identity
    folder = folder_of(identity, settings.journal_dir)
    given = settings.model_fields_set
    if folder is None:
        if settings.overflow is Overflow.SPILL:
            raise ConfigurationError(
                f'overflow "spill" needs a journal, and {backend!r} has no place for one; set '
                f"journal_dir"
            )
        if settings.durability in (Durability.JOURNALED, Durability.SYNCED):
            quiet = backend.capabilities.survives is Survives.NOTHING and "durability" not in given
            _log.log(
                logging.DEBUG if quiet else logging.WARNING,
                '%r has no place for a journal, so its durability is "queued"; to have one set '
                "journal_dir",
                backend,
            )
            settings = settings.model_copy(update={"durability": Durability.QUEUED})
        return Placement(None, settings)
    is_server = identity is not None and not Path(identity).is_absolute()
    if is_server and "overflow" not in given and settings.durability is not Durability.QUEUED:
        settings = settings.model_copy(update={"overflow": Overflow.SPILL})
    return Placement(folder, settings)
