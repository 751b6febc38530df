"""JSON objects of a stream: found one at a time in every form, whatever the chunks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajectory.formats.base import Problem
from trajectory.formats.jsonlines import CHUNK_BYTES, Line
from trajectory.formats.objects import read_objects

DOCUMENTS: list[Any] = [{"a": 'x,]\\"{\n['}, {"b": [1, {"c": "é\u2028"}, []]}, {}, {"d": "\\"}]

FORMS = {
    "lines": "\n".join(map(json.dumps, DOCUMENTS)),
    "list": json.dumps(DOCUMENTS),
    "list over lines": json.dumps(DOCUMENTS, indent=2, ensure_ascii=False),
    "list of lines": "[\n" + ",\n".join(map(json.dumps, DOCUMENTS)) + "\n]\n",
    "documents over lines": "\n".join(json.dumps(document, indent=1) for document in DOCUMENTS),
}


class Chunks(io.BytesIO):
    """A stream that gives a few bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._chunk = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._chunk if size is None or size < 0 else min(size, self._chunk))


def cut(data: bytes, size: int = 10_000, max_bytes: int = 1000) -> list[Line | Problem]:
    return list(read_objects(Chunks(data, size), max_bytes))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("begin", ["", "\ufeff", "\n  \r\n"], ids=["plain", "mark", "blank"])
def test_all_forms_have_the_same_objects(form: str, begin: str) -> None:
    data = (begin + FORMS[form]).encode()
    for size in (1, 2, 3, 5, 10_000):
        found = cut(data, size)
        texts = [line.text for line in found if isinstance(line, Line)]
        assert [json.loads(text or b"") for text in texts] == DOCUMENTS
        assert found == cut(data)


def test_lines_are_where_the_objects_begin() -> None:
    def numbers(form: str) -> list[int]:
        return [line.number for line in cut(FORMS[form].encode()) if isinstance(line, Line)]

    assert numbers("lines") == [1, 2, 3, 4]
    assert numbers("list") == [1, 1, 1, 1]
    assert numbers("list over lines") == [2, 5, 14, 15]
    assert numbers("list of lines") == [2, 3, 4, 5]
    assert numbers("documents over lines") == [1, 4, 13, 14]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b" \n\r\n", []),
        (b"[]", []),
        (b"[ \n ]\n", []),
        (b'[{"a":1}}', [Line(1, b'{"a":1}}')]),
        (b'[{"a":1},\n', [Line(1, b'{"a":1}'), "ends before its list is closed"]),
        (b'[{"a":1', [Line(1, b'{"a":1'), "ends before its list is closed"]),
        (b"[{}]\n[{}]", [Line(1, b"{}"), "has something after its end; nothing more is read"]),
        (b'[1,"x, ]",{}]', [Line(1, b"1"), Line(1, b'"x, ]"'), Line(1, b"{}")]),
        (b'[{"a" 1},{}]', [Line(1, b'{"a" 1}'), Line(1, b"{}")]),
        (
            b'[{"a"]},{}]',
            [Line(1, b'{"a"]}'), "has something after its end; nothing more is read"],
        ),
        (b'{"a":1]', [Line(1, b'{"a":1]')]),
        (b'{\n"a":1}\n}\n{}', [Line(1, b'{\n"a":1}'), Line(3, b"}"), Line(4, b"{}")]),
        (b'{"a"\n{"b":1}\n', [Line(1, b'{"a"'), Line(2, b'{"b":1}')]),
        (b"[" + b"9" * 2000 + b",{}]", [Line(1, None), Line(1, b"{}")]),
        (b'[{"a": "' + b"x" * 2000 + b'"},\n{}]', [Line(1, None), Line(2, b"{}")]),
        (b"x" * 2000 + b"\n{}", [Line(1, None), Line(2, b"{}")]),
    ],
)
def test_what_is_broken_stands_alone(data: bytes, expected: list[Any]) -> None:
    for size in (1, 7, 10_000):
        found = cut(data, size)
        assert [e.reason if isinstance(e, Problem) else e for e in found] == expected


def test_a_list_is_read_with_the_memory_of_one_object() -> None:
    """The objects of a list come before the list has been read: its end never does."""

    class Endless(io.RawIOBase):
        given = 0

        def read(self, _size: int = -1, /) -> bytes:
            self.given += 1
            return b"[" if self.given == 1 else b'{"a": [1, 2]}, ' * 100

    stream = Endless()
    found = read_objects(stream)  # type: ignore[arg-type]
    for _ in range(1000):
        assert next(found) == Line(1, b'{"a": [1, 2]}')
    assert stream.given < 30


@given(st.binary(max_size=60), st.integers(1, 9))
def test_no_bytes_raise_and_chunks_make_no_difference(data: bytes, size: int) -> None:
    for begin in (b"", b"[", b"{", b"[{"):
        found = cut(begin + data, size, max_bytes=20)
        whole = cut(begin + data, max_bytes=20)
        assert [e for e in found if isinstance(e, Line)] == [
            e for e in whole if isinstance(e, Line)
        ]
        assert len(found) == len(whole)


CONTINUED = [
    '{"a": [\n{"b": 1},\n{"c": 2}\n]}',
    '{"a": [{"b": 1},\n{"c": 2}]}',
    '{"a":\n{"b": "]"}}',
    '{"a": "[\\"{", "b": [ \r\n\n {"c": 1}]}',
    '{"a": "x", "b":\n"y"}',
    "{\n}",
]


@pytest.mark.parametrize("document", CONTINUED)
@pytest.mark.parametrize("begin", ["", "\ufeff", "\n  \r\n"], ids=["plain", "mark", "blank"])
def test_a_document_goes_on_after_its_first_line(document: str, begin: str) -> None:
    for size in (1, 3, 10_000):
        found = cut(f"{begin}{document}\n{document}".encode(), size)
        texts = [line.text for line in found if isinstance(line, Line)]
        assert [json.loads(text or b"") for text in texts] == [json.loads(document)] * 2


@pytest.mark.parametrize(
    "first",
    ['{"a": "x,', '{"a": "x[', '{"a": "x\\":', '{"a": 1,', '{"a"', '{"a": [1', '{"a": {"b": 1}'],
)
def test_a_first_line_that_was_cut_off_hides_none_behind_it(first: str) -> None:
    for size in (1, 7, 10_000):
        found = cut(f'{first}\n{{"b": 2}}\n{{"c": 3}}'.encode(), size)
        assert found[1:] == [Line(2, b'{"b": 2}'), Line(3, b'{"c": 3}')]


def test_a_document_with_a_long_first_line_is_one() -> None:
    long = "x" * CHUNK_BYTES * 3
    document = {"a": long, "b": [1, {"c": 2}]}
    data = json.dumps(document).replace('"b"', '\n"b"').encode()
    for size in (4096, 10**9):
        [found] = read_objects(Chunks(data, size))
        assert isinstance(found, Line)
        assert found.text is not None
        assert json.loads(found.text) == document


@given(st.text(alphabet='{}[]":,\\a1 \n', max_size=40), st.integers(1, 9), st.integers(1, 50))
def test_chunks_make_no_difference_to_the_form(text: str, size: int, max_bytes: int) -> None:
    for begin in ("{", '{"a":[\n{'):
        data = (begin + text).encode()
        found, whole = cut(data, size, max_bytes), cut(data, max_bytes=max_bytes)
        assert [e for e in found if isinstance(e, Line)] == [
            e for e in whole if isinstance(e, Line)
        ]
