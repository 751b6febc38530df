"""Free pages of a SQLite file, given back to the file system."""

from __future__ import annotations

import sqlite3

_PAGES_AT_ONCE = 1000
"""So many go in one transaction, within milliseconds."""


def shrink(connection: sqlite3.Connection) -> int:
    """Give so many free pages back; say how many bytes they took, 0 once there are none left.

    A file that was not made by us may lack `auto_vacuum = INCREMENTAL`, and keeps them.
    """
    before = _free_pages(connection)
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    freed = max(0, before - _free_pages(connection))
    if not freed:
        # In WAL mode the file itself is cut by a checkpoint. A passive one waits for nobody.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(freed * page_size)


def _free_pages(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages)
