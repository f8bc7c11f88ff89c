from hypothesis import given
from hypothesis import strategies as st

from drivers.bus.line_splitter import LineSplitter


def test_half_lines_are_joined_and_empty_ones_skipped() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"ab") == []
    assert splitter.feed(b"c\r\n\r\nde\n") == [b"abc", b"de"]


def test_an_over_long_line_is_dropped_whole_and_the_next_one_survives() -> None:
    splitter = LineSplitter(max_bytes=4)
    assert splitter.feed(b"abcdefgh\nok\n") == [b"ok"]


@given(st.binary(), st.integers(1, 7))
def test_the_cuts_between_reads_do_not_matter(data: bytes, size: int) -> None:
    whole, pieces = LineSplitter(max_bytes=5), LineSplitter(max_bytes=5)
    found = []
    for start in range(0, len(data), size):
        found += pieces.feed(data[start : start + size])
    assert found == whole.feed(data)
