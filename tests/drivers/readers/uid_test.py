"""Profiles of card numbers by a table: hex and decimal, byte order, check byte, lengths, random."""

import pytest

from drivers.contract import SerialReaderOptions
from drivers.readers.uid import Refused, converted


def profile(**keys: object) -> SerialReaderOptions:
    return SerialReaderOptions(port="/dev/null", **keys)  # type: ignore[arg-type]


TAKEN = [
    ({}, "04a2b3c4d5e680", "04A2B3C4D5E680"),
    ({}, "04:A2:B3:C4:D5:E6:80", "04A2B3C4D5E680"),
    ({"reverse_bytes": True}, "7186A61E", "1EA68671"),
    ({"format": "dec"}, str(0x1EA68671), "1EA68671"),
    ({"format": "dec"}, "1", "00000001"),
    ({"format": "dec"}, str(0x04A2B3C4D5E680), "04A2B3C4D5E680"),
    ({"format": "dec", "uid_bytes": (7,)}, "1", "00000000000001"),
    ({"format": "dec", "reverse_bytes": True}, str(0x7186A61E), "1EA68671"),
    ({"strip_bcc": True}, "1EA686714F", "1EA68671"),
    ({"strip_bcc": True, "reverse_bytes": True}, "4F7186A61E", "1EA68671"),
    ({"uid_bytes": (4, 7)}, "1EA68671", "1EA68671"),
    ({"token_type": "ISO15693"}, "E004015012345678", "E004015012345678"),
    ({"token_type": "ISO15693"}, "08112233", "08112233"),
    ({}, "08112233445566", "08112233445566"),
    ({"token_type": "KeyCode"}, "12345", "12345"),
    ({"token_type": "Local"}, "0F00A1B2C3", "0F00A1B2C3"),
    ({"token_type": "Local", "reverse_bytes": True}, "0102", "0201"),
    ({"format": "text"}, "abc-1", "ABC-1"),
]


@pytest.mark.parametrize(("keys", "written", "uid"), TAKEN)
def test_a_number_is_converted(keys: dict[str, object], written: str, uid: str) -> None:
    assert converted(written, profile(**keys)) == uid


REFUSED = [
    ({}, "08112233", "random one.*fixed number"),
    ({"reverse_bytes": True}, "33221108", "random one"),
    ({"format": "dec"}, str(0x08112233), "random one"),
    ({}, "1EA6867", "no hex number"),
    ({}, "123-45", "no hex number"),
    ({"format": "dec"}, "1EA68671", "no decimal number"),
    ({"format": "dec"}, "9" * 30, "too long"),
    ({"format": "dec", "uid_bytes": (4,)}, str(1 << 32), "too long"),
    ({"strip_bcc": True}, "1EA6867100", "check byte.*wrong"),
    ({"strip_bcc": True}, "00", "check byte"),
    ({"uid_bytes": (4, 7)}, "1EA686714F", "has 5 bytes; add 5"),
]


@pytest.mark.parametrize(("keys", "written", "reason"), REFUSED)
def test_a_card_is_refused_with_a_reason_that_does_not_name_it(
    keys: dict[str, object], written: str, reason: str
) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        converted(written, profile(**keys))
    assert written not in str(refused.value)
