import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.pilots.rapi import Frame, FrameSplitter, decode, encode


def xor(text: str) -> str:
    sum_ = 0
    for byte in text.encode():
        sum_ ^= byte
    return f"{text}^{sum_:02X}"


def test_a_command_carries_its_sequence_id_and_checksum() -> None:
    assert encode("GS", 0x5A) == xor("$GS :5A").encode() + b"\r"
    assert encode("SC 16 V", 1) == xor("$SC 16 V :01").encode() + b"\r"


@pytest.mark.parametrize(
    ("command", "sequence"), [("GS", 0), ("GS", 256), ("FP 0 0 0123456789ABCDEFGHIJ", 1)]
)
def test_what_the_controller_would_drop_is_not_sent(command: str, sequence: int) -> None:
    with pytest.raises(ValueError, match=r"sequence|too long"):
        encode(command, sequence)


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (xor("$OK 03 12 03 0140 :0A"), Frame("OK", ("03", "12", "03", "0140"), 10)),
        (xor("$AT 01 01 32 0200"), Frame("AT", ("01", "01", "32", "0200"))),
        ("$NK^21", Frame("NK")),
        ("noise" + xor("$OK :FF"), Frame("OK", (), 255)),
        ("$OK 0" + xor("$AT 01 01 32 0200"), Frame("AT", ("01", "01", "32", "0200"))),
        (xor("$OK 1")[:-1] + "0", None),
        ("$OK 1", None),
        ("$OK 1*5A", None),
        ("relayCloseMs: 100", None),
        ("$^24", None),
        (xor("$OK :zz"), None),
        ("$OK^", None),
        ("", None),
    ],
)
def test_only_a_whole_checked_frame_is_taken(line: str, frame: Frame | None) -> None:
    assert decode(line.encode()) == frame


def test_numbers_are_read_in_their_base_or_refused() -> None:
    frame = Frame("OK", ("1f", "10"))
    assert (frame.number(0), frame.number(1, 10)) == (31, 10)
    with pytest.raises(ValueError, match="no argument 3"):
        frame.number(2)


@given(st.binary(max_size=400), st.integers(1, 9))
def test_garbage_never_raises_and_the_next_frame_survives(noise: bytes, size: int) -> None:
    splitter = FrameSplitter()
    data = noise + b"\r" + xor("$AB 00 8.2.3.EU").encode() + b"\r"
    frames = []
    for start in range(0, len(data), size):
        frames += splitter.feed(data[start : start + size])
    assert frames[-1] == Frame("AB", ("00", "8.2.3.EU"))
