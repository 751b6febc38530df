"""A journal cut or changed anywhere gives back all that is whole, and nothing else."""

from __future__ import annotations

import stat
from pathlib import Path
from struct import pack
from zlib import crc32

import pytest
from journal.logged import ID, one_of_each, replayed, turn, turns, written

from trajectory import Turn
from trajectory.journal import Journaled, leftovers
from trajectory.journal.frames import FORMAT, HEADER, MAGIC, TURN, encode, encode_note, scan


class Small:
    """A journal with one value of each kind in one file, and where each frame lies."""

    def __init__(self, folder: Path, *values: Journaled, stored: int = 0) -> None:
        written(folder, *values, stored=stored)
        self.folder, self.values = folder, list(values)
        [self.path] = folder.iterdir()
        self.content = self.path.read_bytes()
        read = self.content.__getitem__
        self.frames = list(scan(lambda at, size: read(slice(at, at + size)), len(self.content)))

    def replay(self, content: bytes) -> tuple[list[Journaled], int, int]:
        self.path.write_bytes(content)
        values, [damage] = replayed(self.folder)
        return values, damage.torn_bytes, damage.undecodable

    def aside(self) -> bytes:
        bad = self.path.with_name(self.path.name + ".bad")
        return bad.read_bytes() if bad.exists() else b""


def short_values() -> list[Journaled]:
    start, _, small, question, _, end = one_of_each()
    return [start.replace(metadata={}, tools=None), small, turn(2), question, end]


def test_cut_at_every_byte_it_gives_the_right_prefix(folder: Path) -> None:
    small = Small(folder, *short_values())
    ends = [frame.end for frame in small.frames]
    assert len(ends) == 1 + len(small.values)
    for size in range(len(small.content)):
        whole = sum(end <= size for end in ends)
        values, torn, undecodable = small.replay(small.content[:size])
        assert values == small.values[: max(0, whole - 1)]
        assert (torn, undecodable) == (size - max([0, *ends[:whole]]), 0)


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_with_any_byte_changed_only_its_frame_is_missing(folder: Path, bits: int) -> None:
    small = Small(folder, *short_values())
    for at in range(len(small.content)):
        changed = bytearray(small.content)
        changed[at] ^= bits
        hit = next(i for i, frame in enumerate(small.frames) if at < frame.end)
        values, torn, undecodable = small.replay(bytes(changed))
        assert values == [v for i, v in enumerate(small.values, 1) if i != hit]
        frame = small.frames[hit]
        if hit == len(small.values):
            assert (torn, undecodable) == (frame.size, 0)
        else:
            assert (torn, undecodable) == (0, 1)
            assert small.aside() == changed[frame.offset : frame.end]


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"{", b"\x03{", bytes(range(256))])
def test_a_tail_of_anything_is_cut(folder: Path, filler: bytes) -> None:
    small = Small(folder, *turns(3))
    for size in (1, 7, 8, 9, 40, 2**18 - 3, 2**18 + 5):
        tail = (filler * size)[:size]
        assert small.replay(small.content + tail) == (small.values, size, 0)


def test_a_length_beyond_reason_allocates_nothing(folder: Path) -> None:
    small = Small(folder, *turns(2))
    huge = b"\xff\xff\xff\xff" + bytes(4) + b"\x03{"
    first = small.frames[1].end
    content = small.content[:first] + huge + small.content[first:]
    assert small.replay(content) == (small.values, 0, 1)
    assert small.aside() == huge


def test_a_wide_damaged_stretch_is_copied_whole(folder: Path) -> None:
    """Frames are found again where they lie across the chunks in which they are looked for."""
    small = Small(folder, *turns(2))
    first = small.frames[1].end
    for size in (2**18 - 20, 2**18 - 9, 2**18 - 8, 2**18 - 1, 2**18, 2**18 + 1, 3 * 2**18):
        stretch = b"\x01" * size
        content = small.content[:first] + stretch + small.content[first:]
        assert small.replay(content) == (small.values, 0, 1)
        assert small.aside() == stretch


def test_no_text_looks_like_a_frame(folder: Path) -> None:
    """Invariant: what was logged is never taken for the journal's own bytes."""
    inside = encode(turn(9, "forged")).decode("latin-1")
    small = Small(folder, turn(1, inside), turn(2))
    changed = bytearray(small.content)
    changed[small.frames[1].offset + 4] ^= 1
    assert small.replay(bytes(changed)) == ([small.values[1]], 0, 1)


def test_what_the_models_refuse_is_set_aside(folder: Path) -> None:
    small = Small(folder, *turns(2))
    key = f'"trajectory_id":"{ID}","turn_number":5'
    strange = [
        encode_note(TURN, {"prompt": "from a newer version"}),
        encode_note(31, {"kind": "from a newer version"}),
        _framed(TURN, f'{{{key},"prompt":"p","response":"r","reward":NaN}}'),
        _framed(TURN, "{" + "[" * 100_000),
        _framed(TURN, '{"prompt":"\\ud800"}'),
        _framed(6, "{nothing}"),
        _framed(1, "[]"),
    ]
    first = small.frames[1].end
    content = small.content[:first] + b"".join(strange) + small.content[first:]
    assert small.replay(content) == (small.values, 0, len(strange))
    assert small.aside() == b"".join(strange)
    assert small.replay(small.content + strange[0]) == (small.values, 0, 1)
    assert small.aside() == strange[0]


def _framed(kind: int, text: str) -> bytes:
    payload = bytes([kind]) + text.encode()
    return pack("<II", len(payload), crc32(payload)) + payload


def test_what_is_set_aside_is_private_and_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = Small(folder, turn(1, "secret"), turn(2))
    changed = bytearray(small.content)
    changed[small.frames[1].offset + 20] ^= 1
    small.replay(bytes(changed))
    bad = small.path.with_name(small.path.name + ".bad")
    assert stat.S_IMODE(bad.stat().st_mode) == 0o600
    [line] = caplog.messages
    assert str(bad) in line
    assert "secret" not in line
    replayed(folder, remove=True)
    assert [each.name for each in folder.iterdir()] == [bad.name]
    assert replayed(folder) == ([], [])


def test_damage_in_what_is_stored_is_no_loss(folder: Path) -> None:
    small = Small(folder, *turns(4), stored=2)
    mark = small.frames[-1]
    for frame in small.frames[:3]:
        changed = bytearray(small.content)
        changed[frame.offset + 12] ^= 1
        assert small.replay(bytes(changed)) == (small.values[2:], 0, 0)
    changed = bytearray(small.content)
    changed[mark.offset + 12] ^= 1
    assert small.replay(bytes(changed)) == (small.values, mark.size, 0)


def test_damage_across_the_mark_is_counted(folder: Path) -> None:
    small = Small(folder, *turns(4), stored=2)
    changed = bytearray(small.content)
    for frame in small.frames[2:4]:
        changed[frame.offset + 12] ^= 1
    assert small.replay(bytes(changed)) == (small.values[3:], 0, 1)


def test_a_mark_of_what_comes_after_it_is_none(folder: Path) -> None:
    small = Small(folder, *turns(2))
    wrong = encode_note(6, {"stored": 9, "before": 10**6})
    values, torn, _ = small.replay(small.content + wrong + encode_note(6, {"before": "x"}))
    assert (values, torn) == (small.values, 0)


def test_a_newer_format_is_left_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = Small(folder, *turns(2))
    header = encode_note(HEADER, {"magic": MAGIC, "format": FORMAT + 1})
    content = header + small.content[small.frames[0].end :]
    small.path.write_bytes(content)
    assert leftovers(folder) == []
    assert "newer" in caplog.text
    assert small.path.read_bytes() == content


def test_an_empty_file_is_an_orphan_without_values(folder: Path) -> None:
    small = Small(folder, *turns(1))
    assert small.replay(b"") == ([], 0, 0)


def test_values_again_are_the_same(folder: Path) -> None:
    """A replay that is killed half-way, at any value, is repeated."""
    small = Small(folder, *turns(5))
    changed = bytearray(small.content)
    changed[small.frames[2].offset + 20] ^= 1
    small.path.write_bytes(changed)
    expected: list[Turn] = [small.values[i] for i in (0, 2, 3, 4)]  # type: ignore[misc]
    for taken in range(5):
        [orphan] = leftovers(folder)
        values = orphan.values()
        assert [next(values)[0] for _ in range(taken)] == expected[:taken]
        values.close()  # type: ignore[attr-defined]
        orphan.release()
    [orphan] = leftovers(folder)
    for _ in range(2):
        assert [value for value, _ in orphan.values()] == expected
        assert orphan.damage.undecodable == 1
    orphan.remove()
    assert small.aside() == changed[small.frames[2].offset : small.frames[2].end]
