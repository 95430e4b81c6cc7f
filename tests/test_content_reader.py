import io
import os

import pytest

from portal.content_reader import ContentReader

CONTENT = bytes(range(200))


class Sparing(ContentReader):
    """Gives at most seven bytes at once."""

    def read_at(self, at: int, size: int) -> bytes:
        return CONTENT[at : at + min(size, 7)]


@pytest.fixture
def reader() -> ContentReader:
    return Sparing(len(CONTENT))


def test_all_of_it_is_read_whatever_comes_at_once(reader: ContentReader) -> None:
    assert reader.readall() == CONTENT
    assert (reader.read(), reader.read(5), reader.readall()) == (b"", b"", b"")
    reader.seek(10)
    assert b"".join(reader.chunks()) == CONTENT[10:]
    assert reader.closed


def test_a_position_is_counted_from_the_beginning_the_end_and_where_it_is(reader: ContentReader) -> None:
    assert (reader.seek(3), reader.read(2), reader.seek(2, os.SEEK_CUR), reader.tell()) == (3, b"\3\4", 7, 7)
    assert (reader.seek(-4, os.SEEK_END), reader.read()) == (196, CONTENT[196:])
    assert (reader.seek(5, os.SEEK_END), reader.read()) == (205, b"")
    with pytest.raises(ValueError, match="before the first"):
        reader.seek(-1)


def test_a_buffer_is_put_before_it_as_before_any_file(reader: ContentReader) -> None:
    buffered = io.BufferedReader(reader, 16)
    assert (buffered.read(20), buffered.peek(1)[:1], buffered.read()) == (CONTENT[:20], CONTENT[20:21], CONTENT[20:])
