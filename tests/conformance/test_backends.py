"""The conformance suite on every backend of ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from trajectory import Batch, StorageBackend, open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import BackendConformance


class TestMemory(BackendConformance):
    def make_backend(self) -> StorageBackend:
        return MemoryBackend()


class TestSqliteInMemory(BackendConformance):
    def make_backend(self) -> StorageBackend:
        return open_backend(":memory:")


class TestSqliteWal(BackendConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "t.db"

    def make_backend(self) -> StorageBackend:
        return open_backend(self.path)

    async def test_the_file_is_in_wal_mode(self) -> None:
        async with self.new_backend() as backend:
            await backend.write(Batch())
        assert journal_mode(self.path) == "wal"


class TestSqliteRollbackJournal(BackendConformance):
    @pytest.fixture(autouse=True)
    async def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "t.db"
        backend = open_backend(self.path)
        await backend.open()
        await backend.close()
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.close()

    def make_backend(self) -> StorageBackend:
        return open_backend(self.path)

    async def test_the_file_keeps_its_journal(self) -> None:
        async with self.new_backend() as backend:
            await backend.write(Batch())
        assert journal_mode(self.path) == "delete"


class TestPostgres(BackendConformance):
    @pytest.fixture(autouse=True)
    def _place(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make_backend(self) -> StorageBackend:
        return open_backend(self.url)


def journal_mode(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
    finally:
        connection.close()
    return mode
