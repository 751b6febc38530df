"""Lines from outside: cut right whatever the chunks, parsed strictly, refused without a quote."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajectory.formats.jsonlines import (
    BadLineError,
    Line,
    LineSplitter,
    parse_object,
    read_lines,
)

CANARY = "CANARY-7f3a"


def cut(data: bytes, at: list[int], max_bytes: int = 1000) -> list[Line]:
    splitter = LineSplitter(max_bytes)
    lines: list[Line] = []
    edges = [0, *sorted(edge % (len(data) + 1) for edge in at), len(data)]
    for begin, end in itertools.pairwise(edges):
        lines += splitter.feed(data[begin:end])
    return [*lines, *splitter.end()]


def test_lines_are_numbered_and_blank_ones_counted_but_left_out() -> None:
    data = b'\xef\xbb\xbf{"a":1}\r\n\n  \t\r\n{"b":2}\n\n{"c":3}'
    assert list(read_lines(io.BytesIO(data))) == [
        Line(1, b'{"a":1}'),
        Line(4, b'{"b":2}'),
        Line(6, b'{"c":3}'),
    ]


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_input_without_content_has_no_lines(data: bytes) -> None:
    assert list(read_lines(io.BytesIO(data))) == []


def test_a_long_line_is_refused_alone_and_not_kept() -> None:
    data = b"short\n" + b"x" * 11 + b"\n" + b"y" * 10 + b"\nlast"
    assert cut(data, [], max_bytes=10) == [
        Line(1, b"short"),
        Line(2, None),
        Line(3, b"y" * 10),
        Line(4, b"last"),
    ]
    with pytest.raises(BadLineError, match="longer than 64 MiB"):
        parse_object(Line(2, None))


@given(
    st.lists(st.sampled_from([b"", b"a", b"bc" * 4, b"\r", b"z" * 30, b" "])),
    st.lists(st.integers(0, 200)),
)
def test_where_the_chunks_are_cut_makes_no_difference(pieces: list[bytes], at: list[int]) -> None:
    data = b"\n".join(pieces)
    assert cut(data, at, max_bytes=20) == cut(data, [], max_bytes=20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": "CANARY-7f3a"', "is not JSON: .* at character 20"),
        (b"CANARY-7f3a", "is not JSON"),
        (b'{"a": "CANARY-7f3a \xff"}', "is not UTF-8 at byte 20"),
        (b'{"CANARY-7f3a": 1, "CANARY-7f3a": 2}', "same name twice"),
        (b'{"x": {"CANARY-7f3a": 1, "CANARY-7f3a": 1}}', "same name twice"),
        (b'{"CANARY-7f3a": NaN}', "NaN or infinity"),
        (b'{"CANARY-7f3a": -Infinity}', "NaN or infinity"),
        (b'{"CANARY-7f3a": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'["CANARY-7f3a"]', "is an array; one JSON object a line"),
        (b'"CANARY-7f3a"', "is not an object"),
        (b"null", "is not an object"),
        (b'{"CANARY-7f3a":' + b"[" * 100_000, "nests too deep"),
        ('{"CANARY-7f3a": 1}'.encode("utf-16"), "is UTF-16"),
        (b"\x1f\x8b\x08CANARY-7f3a", "is gzip"),
    ],
)
def test_what_is_no_object_is_refused_with_a_reason_that_quotes_nothing(
    text: bytes, reason: str
) -> None:
    with pytest.raises(BadLineError, match=reason) as caught:
        parse_object(Line(1, text))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_object_is_parsed() -> None:
    assert parse_object(Line(1, b'{"a": ["\\ud800", 1e3, "\xc3\xa4"]}')) == {
        "a": ["\ud800", 1000.0, "ä"]
    }
