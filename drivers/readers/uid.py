"""From what a reader says to the number that OCPP wants: bytes in air order, hex; pure."""

import re
from functools import reduce
from operator import xor
from typing import Protocol

ISO_TYPES = frozenset({"ISO14443", "ISO15693"})
"""Token types whose idToken is the UID in hex (OCPP 2.0.1 part 2, IdTokenEnumType)."""
ISO14443_BYTES = (4, 7, 10)
RANDOM_UID = 0x08
"""First of four bytes of a UID that is another one each time (ISO 14443-3 6.5.4)."""
APART = re.compile(r"[0-9A-F]{2}([ :.-][0-9A-F]{2})+")
"""Bytes written apart, as some readers do; a CSMS knows the card without what stands between."""
HEX = re.compile("([0-9A-F]{2})+")
DEC = re.compile("[0-9]{1,30}")


class Profile(Protocol):
    """How a reader writes numbers; the options of readers carry these keys."""

    @property
    def token_type(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def reverse_bytes(self) -> bool: ...
    @property
    def strip_bcc(self) -> bool: ...
    @property
    def uid_bytes(self) -> tuple[int, ...]: ...


class Refused(ValueError):
    """A card that cannot be used; the text says why and what to do, without its number."""


def converted(written: str, profile: Profile) -> str:
    """The card's number in upper-case hex without separators, or text; raises Refused."""
    text = written.strip().upper()
    if APART.fullmatch(text):
        text = re.sub("[^0-9A-F]", "", text)
    is_iso = profile.token_type in ISO_TYPES
    changes = profile.reverse_bytes or profile.strip_bcc or profile.uid_bytes
    if profile.format == "text" or (profile.format == "hex" and not is_iso and not changes):
        return text
    uid = _from_dec(text, profile.uid_bytes) if profile.format == "dec" else _from_hex(text)
    if profile.reverse_bytes:
        uid = uid[::-1]
    if profile.strip_bcc:
        uid = _without_bcc(uid)
    if profile.uid_bytes and len(uid) not in profile.uid_bytes:
        raise Refused(
            f"its number has {len(uid)} bytes; add {len(uid)} to uid_bytes if such cards are right"
        )
    check_fixed(uid, profile.token_type)
    return uid.hex().upper()


def check_fixed(uid: bytes, token_type: str) -> None:
    """Raises Refused for a number that the card makes up anew each time."""
    if token_type == "ISO14443" and len(uid) == 4 and uid[0] == RANDOM_UID:
        raise Refused(
            "its number is a random one (08...), as phones and some bank cards give; "
            "use a card with a fixed number"
        )


def _from_hex(text: str) -> bytes:
    if not HEX.fullmatch(text):
        raise Refused("what was read is no hex number; correct pattern, format or token_type")
    return bytes.fromhex(text)


def _from_dec(text: str, lengths: tuple[int, ...]) -> bytes:
    """Of the possible lengths the shortest that holds the number: readers drop leading zeros."""
    if not DEC.fullmatch(text):
        raise Refused("what was read is no decimal number; correct pattern or format")
    number = int(text)
    for length in sorted(lengths or ISO14443_BYTES):
        if number < 1 << (8 * length):
            return number.to_bytes(length, "big")
    raise Refused("its number is too long; correct pattern or uid_bytes")


def _without_bcc(uid: bytes) -> bytes:
    if len(uid) < 2 or reduce(xor, uid) != 0:
        raise Refused(
            "the check byte (BCC) of its number is wrong; present it again, or set strip_bcc: false"
        )
    return uid[:-1]
