"""A line on which anything may come: what noise does to the frames of a device's end."""

import random
from collections.abc import Callable

from hil.parts.modbus_slave import crc16

Spoil = Callable[[bytes, random.Random], bytes]


def noise(frame: bytes, dice: random.Random) -> bytes:
    """Bytes that mean nothing."""
    return dice.randbytes(dice.randint(0, 300))


def flipped(frame: bytes, dice: random.Random) -> bytes:
    """A few bits are wrong, the checksum is not corrected."""
    spoiled = bytearray(frame)
    for _ in range(dice.randint(1, 2)):
        spoiled[dice.randrange(len(spoiled))] ^= 1 << dice.randrange(8)
    return bytes(spoiled)


def one_bit(frame: bytes, dice: random.Random) -> bytes:
    """One bit is wrong: what a sum or an exclusive or of eight bits must notice."""
    spoiled = bytearray(frame)
    spoiled[dice.randrange(len(spoiled))] ^= 1 << dice.randrange(8)
    return bytes(spoiled)


def misread(frame: bytes, dice: random.Random) -> bytes:
    """One digit of a text became another, or a byte where there is none."""
    digits = [at for at, byte in enumerate(frame) if chr(byte).isdigit()] or [0]
    at = dice.choice(digits)
    return frame[:at] + dice.choice(b"0123456789").to_bytes(1, "big") + frame[at + 1 :]


def cut(frame: bytes, dice: random.Random) -> bytes:
    """The rest never came."""
    return frame[: dice.randrange(len(frame))]


def wrapped(frame: bytes, dice: random.Random) -> bytes:
    """Noise before and after a good frame."""
    return dice.randbytes(dice.randint(1, 20)) + frame + dice.randbytes(dice.randint(0, 20))


def doubled(frame: bytes, dice: random.Random) -> bytes:
    """Sent twice."""
    return frame + frame


def foreign(frame: bytes, dice: random.Random) -> bytes:
    """Another Modbus unit, function or length, with a good checksum."""
    body = bytearray(frame[:-2])
    body[dice.randrange(3)] ^= 1 << dice.randrange(8)
    return bytes(body) + crc16(bytes(body))


def misdirected(frame: bytes, dice: random.Random) -> bytes:
    """Another transaction, protocol, length, unit, function or count under an MBAP header."""
    spoiled = bytearray(frame)
    spoiled[dice.randrange(min(9, len(spoiled)))] ^= 1 << dice.randrange(8)
    return bytes(spoiled)


def silence(frame: bytes, dice: random.Random) -> bytes:
    """Nothing at all."""
    return b""


SPOILS: tuple[Spoil, ...] = (noise, flipped, misread, cut, wrapped, doubled, foreign, silence)
"""What may become of a frame of Modbus RTU."""
ON_TCP: tuple[Spoil, ...] = (noise, cut, wrapped, doubled, misdirected, silence)
"""Of one in a socket, where no bit changes by itself."""
WEAKLY_CHECKED: tuple[Spoil, ...] = (noise, one_bit, cut, wrapped, doubled, silence)
"""Of what has only eight bits of check."""
UNCHECKED: tuple[Spoil, ...] = (noise, cut)
