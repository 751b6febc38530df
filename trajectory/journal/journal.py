"""The journal of one process: what was accepted and is not known to be stored yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import dropwhile
from pathlib import Path

from trajectory.journal.errors import JournalError, reason, unfit
from trajectory.journal.folder import Folder
from trajectory.journal.frames import Found, Frame, Journaled, UndecodableError, decode, encode
from trajectory.journal.os_layer import REAL, OsLayer
from trajectory.journal.segment import Segment
from trajectory.journal.shared import SharedRound
from trajectory.threads import in_thread

_log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 2**20
CUT_BYTES = 2**20
"""An active segment below this size is not worth a cut."""


class Journal:
    """The segments of one process in one folder.

    Values are numbered from 1 in the order they were appended. `open`, `append`, `mark`, `read` and
    `close` are for one thread, and don't wait; `sync` is for the event loop of that thread.
    """

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, os_layer: OsLayer = REAL
    ) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._os = os_layer
        self._files = Folder(folder, os_layer)
        self._segments: list[Segment] = []
        """In order; together they hold all that is not stored, the last one is written to."""
        self._superseded: list[Segment] = []
        """Rewritten after a failed sync; kept until the copy is known to survive power loss."""
        self._appended = self._marked = 0
        self._marks_fail = False
        self._syncs = SharedRound(self._sync_all)

    @property
    def appended(self) -> int:
        """How many values were appended since `open`: the number of the last."""
        return self._appended

    @property
    def marked(self) -> int:
        """Up to which number all are known to be stored."""
        return self._marked

    @property
    def bytes(self) -> int:
        """What the segments take on disk now."""
        return sum(segment.size for segment in (*self._segments, *self._superseded))

    def open(self) -> None:
        """Make the folder and the first segment. Raises `JournalError`. A no-op while open."""
        if self._segments:
            return
        self._files = Folder(self.folder, self._os)
        self._appended = self._marked = 0
        try:
            self._files.make()
            self._segments = [self._files.new_segment(1)]
        except OSError as error:
            raise JournalError(
                f"can't write a journal in {self.folder}: {reason(error)}; make the folder "
                f'writable, set journal_dir to another one, or durability="queued" to do without'
            ) from error

    def append(self, value: Journaled, frame: Frame | None = None) -> int:
        """Write a value with one call of the system; give the bytes of its frame.

        On return it survives the end of this process. Raises `JournalError`, and nothing of it is
        kept then. `frame` is what `LargeFrames` made of it.
        """
        if frame is None:
            try:
                frame = encode(value)
            except ValueError as error:
                raise unfit(value, error) from None
        if not self._segments:
            raise self._not_open()
        size = len(frame)
        segment = self._segments[-1]
        try:
            if segment.torn or segment.size + size > self._segment_bytes:
                segment = self._with_room(segment)
            segment.append(frame)
        except OSError as error:
            raise JournalError(
                f"the journal {segment.path} can't take {size} bytes: {reason(error)}; nothing was "
                f"accepted; free disk space, or give it a journal_dir with room"
            ) from error
        self._appended += 1
        return size

    def mark(self, count: int) -> None:
        """Note that the first `count` values are stored (or set aside for good).

        Gives back the disk space that only they took. What fails here is logged: without its mark a
        value is replayed, which changes nothing.
        """
        count = min(count, self._appended)
        if count <= self._marked or not self._segments:
            return
        self._marked = count
        failed = self._drop_stored()
        holder = next(segment for segment in self._segments if segment.last >= count)
        try:
            if holder.last == count and holder.size > CUT_BYTES:
                holder.empty()
            elif holder.first <= count:
                holder.mark(count)
        except OSError as error:
            failed = error
        if failed is not None and not self._marks_fail:  # said once, not for each batch
            _log.warning(
                "can't note in %s that %d values are stored: %s; after a crash they are replayed",
                self.folder,
                count,
                reason(failed),
            )
        self._marks_fail = failed is not None

    async def sync(self) -> None:
        """Return when all that was appended before the call survives power loss.

        One call of the system, in a thread, serves all who wait; who comes while it runs shares
        the next. Raises `JournalError`: then what was appended survives this process alone.
        """
        if not self._segments:
            raise self._not_open()
        await self._syncs.join()

    def read(self, start: int, limit: int, max_bytes: int) -> list[tuple[Journaled, int]]:
        """Read the values after number `start` in order, each with the bytes it takes.

        At most `limit`, and about `max_bytes` of them; one at least, if there is one. Raises
        `JournalError` if they can't be read, or are gone because they were marked.
        """
        return decoded(self.frames(start, limit, max_bytes))

    def frames(self, start: int, limit: int, max_bytes: int) -> list[tuple[Path, Found]]:
        """Read what `read` gives, for `decoded`: that may take long, and need not be here."""
        if not self._segments:
            raise self._not_open()
        number, stop = start + 1, min(start + limit, self._appended)
        if number <= stop and number < self._segments[0].first:
            raise JournalError(f"value {number} is in {self.folder} no longer: it was stored")
        frames: list[tuple[Path, Found]] = []
        for segment in self._segments:
            while max_bytes > 0 and number <= min(stop, segment.last):
                for found in self._frames(segment, number, min(stop, segment.last), max_bytes):
                    frames.append((segment.path, found))
                    max_bytes -= found.size
                    number += 1
        return frames

    def close(self) -> None:
        """Let go of the files: where all is marked they are removed, else the next start has them.

        Safe twice.
        """
        segments, self._segments = [*self._superseded, *self._segments], []
        self._superseded = []
        for segment in segments:
            if self._marked == self._appended:
                with suppress(OSError):  # it is closed then, and replayed
                    segment.remove()
            segment.close()
        with suppress(OSError):  # others' files are in it, or it is gone
            self.folder.rmdir()

    def forget(self) -> None:
        """Let go in a forked child: no lock is freed and nothing written, the parent goes on."""
        for segment in (*self._superseded, *self._segments):
            segment.forget()
        self._segments, self._superseded = [], []
        self._syncs = SharedRound(self._sync_all)

    async def _sync_all(self) -> None:
        failed: OSError | None = None
        if not any(segment.failed for segment in self._segments):
            failed = await self._sync_files()
            if failed is None:
                return
            _log.warning("a sync of %s failed: %s; writing it anew", self.folder, reason(failed))
        self._rewrite()
        failed = await self._sync_files()
        if failed is not None:
            raise JournalError(
                f"the journal in {self.folder} can't be made safe against power loss: "
                f"{reason(failed)}; check the disk, or give it a journal_dir on another one"
            ) from failed
        self._superseded = [each for each in self._superseded if not _removed(each)]

    async def _sync_files(self) -> OSError | None:
        """Sync what was changed, names after content; say what failed."""
        segments = [segment for segment in self._segments if segment.dirty]
        folders, self._files.unsynced = self._files.unsynced, set()
        for segment in segments:
            segment.dirty = False
        if not segments and not folders:
            return None
        try:
            failed = await in_thread(partial(self._sync_each, segments, folders))
        except BaseException:
            for segment in segments:
                segment.dirty = True
            self._files.unsynced |= folders
            raise
        if not self._segments:
            raise self._not_open()
        if failed is not None:
            self._files.unsynced |= folders
            for segment in segments:
                segment.dirty = segment.failed = True
            return failed
        for segment in segments:
            segment.was_synced = True
        return None

    def _sync_each(self, segments: list[Segment], folders: set[Path]) -> OSError | None:
        try:
            for segment in segments:
                segment.sync()
            for folder in sorted(folders, reverse=True):  # the innermost first
                self._os.sync_folder(folder)
        except OSError as error:
            return error
        return None

    def _rewrite(self) -> None:
        """Copy what is not stored out of the segments whose sync failed, and all after them.

        Raises `JournalError`, and leaves all as it was.
        """
        old = list(dropwhile(lambda segment: not segment.failed, self._segments))
        if not old:  # what failed is stored by now
            return
        number = max(self._marked + 1, old[0].first)
        made: list[Segment] = []
        try:
            made.append(self._files.new_segment(number))
            for segment in old:
                while number <= segment.last:
                    for found in self._frames(segment, number, segment.last, CUT_BYTES):
                        if made[-1].size + found.size > self._segment_bytes:
                            made.append(self._files.new_segment(number))
                        made[-1].append(found.frame)
                        number += 1
        except (OSError, JournalError) as error:
            for segment in made:
                if not _removed(segment):
                    segment.close()
            if isinstance(error, JournalError):
                raise
            raise JournalError(
                f"the journal in {self.folder} can't be written anew after a failed sync: "
                f"{reason(error)}; free disk space, or give it a journal_dir on another disk"
            ) from error
        self._segments[-len(old) :] = made
        # A copy that was never safe itself is not needed beside this one.
        self._superseded += [each for each in old if each.was_synced or not _removed(each)]

    def _with_room(self, segment: Segment) -> Segment:
        """Begin a new segment for what doesn't fit into this one."""
        if segment.is_empty:  # a value larger than a segment has one for itself
            return segment
        try:
            made = self._files.new_segment(self._appended + 1)
        except OSError:
            return segment  # better too long than nothing accepted
        self._segments.append(made)
        return made

    def _drop_stored(self) -> OSError | None:
        """Delete the segments in which all is stored, the active one aside; say what failed."""
        failed = None
        gone = set()
        for segment in (*self._superseded, *self._segments[:-1]):
            if segment.last <= self._marked:
                try:
                    segment.remove()
                except OSError as error:
                    failed = error
                else:
                    gone.add(segment)
        self._superseded = [each for each in self._superseded if each not in gone]
        self._segments = [each for each in self._segments if each not in gone]
        return failed

    def _frames(self, segment: Segment, first: int, last: int, max_bytes: int) -> list[Found]:
        """Read frames whose CRC holds. Raises `JournalError`."""
        try:
            frames = segment.frames(first, last, max_bytes)
        except OSError as error:
            raise JournalError(f"can't read {segment.path}: {reason(error)}") from error
        if any(found.kind is None for found in frames):
            raise JournalError(
                f"{segment.path} has changed on disk: a value among number {first} to {last} is "
                f"damaged; check the disk"
            )
        return frames

    def _not_open(self) -> JournalError:
        return JournalError(f"the journal in {self.folder} is not open")


def decoded(frames: Iterable[tuple[Path, Found]]) -> list[tuple[Journaled, int]]:
    """Give the values of frames, each with the bytes it takes. Raises `JournalError`."""
    values: list[tuple[Journaled, int]] = []
    for path, found in frames:
        try:
            values.append((decode(found.kind or 0, found.body), found.size))
        except UndecodableError as error:
            raise JournalError(f"{path} holds {error}") from None
    return values


def _removed(segment: Segment) -> bool:
    """Remove a segment that is not needed; say whether that went well."""
    try:
        segment.remove()
    except OSError:
        return False
    return True
