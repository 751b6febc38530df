"""SQLite and Postgres, through SQLAlchemy."""

from trajectory.backends.sql.backend import SqlBackend

__all__ = ["SqlBackend"]
