"""How meters are made to sign: one procedure for each family of devices."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from drivers.contract import NoAnswer, Payer, ProtocolError, Signing
from drivers.meters import sunspec
from drivers.meters.identification import (
    Identification,
    em580_registers,
    identification,
    ocmf_fields,
)
from drivers.meters.signing import Bauer, Em580, Iskra, SigningMap

POLL_S = 0.2
SIGN_WITHIN_S = 12.0
"""A meter that has not signed by then gives no signature for this value."""
MOST_WORDS = 2048
"""Registers of signed data: more is a number that was read wrong, and would hold up the line."""
FIELDS: dict[str, object] = {
    **dict.fromkeys(("GI", "GS", "GV", "PG", "MV", "MM", "MS", "MF"), ""),
    "FV": "1.0",
    **ocmf_fields(Identification()),
    "CT": "EVSEID",
    "CI": "",
    "RD": [],
}
"""What a session of the Iskra begins with, before somebody is named in it: the meter fills in its
own names and readings."""


class Registers(Protocol):
    """Holding registers of one device."""

    async def read(self, address: int, count: int) -> list[int]:
        """Of any length; raises DriverError."""

    async def write(self, address: int, *values: int) -> None:
        """Raises DriverError."""


class Procedure(Protocol):
    """Makes one meter sign."""

    async def order(self, registers: Registers, signing: Signing, payer: Payer | None) -> bool:
        """Has the data of this moment signed, the payer named in them where the meter takes that;
        False: there are none for it. Raises DriverError."""

    async def fetch(self, registers: Registers) -> tuple[str, str]:
        """The signed data (OCMF) and the public key in hex, "" where the meter does not tell it;
        may be repeated. Raises DriverError."""

    async def settle(self, registers: Registers) -> None:
        """They were fetched, or cannot be. Raises DriverError."""


def procedure_of(options: SigningMap) -> Procedure:
    """The one of a map file."""
    match options:
        case Bauer():
            return BauerSnapshot(options)
        case Iskra():
            return IskraSession(options)
        case Em580():
            return Em580Session(options)


class BauerSnapshot:
    """Asks for a snapshot of now; there is nothing to begin or to end."""

    def __init__(self, options: Bauer) -> None:
        self._options = options
        self._at: int | None = None
        self._length = 0

    async def order(self, registers: Registers, signing: Signing, payer: Payer | None) -> bool:
        """Nobody is named: how a BSM is told is not known here."""
        options = self._options
        if self._at is None:
            await self._find(registers)
        status = self._begin + options.status_offset
        await _command(registers, status, options.updating)

        async def is_valid() -> bool:
            (told,) = await registers.read(status, 1)
            return _is(told, options.valid, (options.updating,), "snapshot")

        await _until(is_valid, "its snapshot")
        return True

    async def fetch(self, registers: Registers) -> tuple[str, str]:
        begin, text = self._begin, self._options.text_offset
        words = await registers.read(begin + text, self._length + 2 - text)
        (told,) = await registers.read(begin + self._options.status_offset, 1)
        if told != self._options.valid:
            raise ProtocolError("its snapshot changed while it was read; the next one may do")
        return _text(words), ""

    async def settle(self, registers: Registers) -> None:
        """The next snapshot replaces this one."""

    @property
    def _begin(self) -> int:
        assert self._at is not None
        return self._at

    async def _find(self, registers: Registers) -> None:
        async def read(_: int, address: int, count: int) -> list[int]:
            return await registers.read(address, count)

        async for model, address, length in sunspec.models(read):
            if model == self._options.model:
                (kind,) = await registers.read(address + self._options.type_offset, 1)
                if kind == self._options.current and length < MOST_WORDS:
                    self._at, self._length = address, length
                    return
        raise ProtocolError(
            f"it has no SunSpec model {self._options.model} to sign with; check that it is a BSM "
            "with signatures, or choose the model sunspec_meter in charger.yaml"
        )


class IskraSession:
    """A session begins and ends by command; both are signed, values in between are not."""

    def __init__(self, options: Iskra) -> None:
        self._options = options

    async def order(self, registers: Registers, signing: Signing, payer: Payer | None) -> bool:
        if signing is Signing.VALUE:
            return False
        options = self._options
        is_running = await self._is_running(registers)
        if signing is Signing.END and not is_running:
            return False
        if is_running:  # at a begin it is somebody else's that was left open
            await self._set_up(registers, payer if signing is Signing.END else None)
            await self._command(registers, options.stop, is_running=False)
        if signing is Signing.BEGIN:
            await self._set_up(registers, payer)
            await self._command(registers, options.start, is_running=True)
        return True

    async def fetch(self, registers: Registers) -> tuple[str, str]:
        options = self._options
        values = await self._sized(registers, options.values_length, options.values)
        signature = await self._sized(registers, options.signature_length, options.signature)
        key = _bytes(await registers.read(options.public_key, 32)).hex()
        signed = json.dumps({"SD": signature.hex()}, separators=(",", ":"))
        return f"OCMF|{values.decode('utf-8', 'replace')}|{signed}", key

    async def settle(self, registers: Registers) -> None:
        """The next session replaces these."""

    async def _is_running(self, registers: Registers) -> bool:
        (state,) = await registers.read(self._options.state, 1)
        return state != self._options.idle

    async def _set_up(self, registers: Registers, payer: Payer | None) -> None:
        """Clock and fields of the session; both are gone after a power failure of the meter."""
        options, now_s = self._options, int(time.time())
        await registers.write(options.time, now_s >> 16 & 0xFFFF)
        await registers.write(options.time + 1, now_s & 0xFFFF)
        await registers.write(options.time_zone, 0)
        await registers.write(options.time_state, 2)
        await registers.write(options.algorithm, 0)
        fields = FIELDS | ocmf_fields(identification(payer))
        data = json.dumps(fields, separators=(",", ":")).encode()
        padded = data + b"\0" * (len(data) % 2)
        words = [int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2)]
        await registers.write(options.metadata, *words)
        await registers.write(options.metadata_length, len(data))

    async def _command(self, registers: Registers, command: int, *, is_running: bool) -> None:
        options = self._options
        await _command(registers, options.command, command)

        async def is_signed() -> bool:
            if await self._is_running(registers) != is_running:
                return False
            (status,) = await registers.read(options.command_status, 1)
            return _is(status, options.signed, options.in_progress, "signature")

        await _until(is_signed, "its signature")

    @staticmethod
    async def _sized(registers: Registers, length_at: int, address: int) -> bytes:
        (length,) = await registers.read(length_at, 1)
        if not 0 < length <= 2 * MOST_WORDS:
            raise ProtocolError(f"its signed data have a length of {length}; no signature")
        return _bytes(await registers.read(address, -(-length // 2)))[:length]


class Em580Session:
    """A session begins and ends by command; after the end there is one file of both values."""

    def __init__(self, options: Em580) -> None:
        self._options = options

    async def order(self, registers: Registers, signing: Signing, payer: Payer | None) -> bool:
        if signing is Signing.VALUE:
            return False
        options = self._options
        (state,) = await registers.read(options.state, 1)
        if signing is Signing.BEGIN:
            if state == options.running:
                await registers.write(options.command, options.abort)
            elif state != options.idle:
                await registers.write(options.state, options.idle)
            await self._name(registers, payer)
            await registers.write(options.modality, 1)
            await registers.write(options.command, options.start)
            return False
        if state == options.idle:
            return False
        if state == options.running:
            await _command(registers, options.command, options.end)

        async def is_ready() -> bool:
            (told,) = await registers.read(options.state, 1)
            return _is(told, options.ready, (options.idle, options.running), "file")

        await _until(is_ready, "its file")
        return True

    async def fetch(self, registers: Registers) -> tuple[str, str]:
        options = self._options
        (size,) = await registers.read(options.size, 1)
        if not 0 < size <= 2031:
            raise ProtocolError(f"its signed file has {size} words; no signature")
        text = _text(await registers.read(options.file, size))
        key = await registers.read(options.public_key, options.public_key_length)
        return text, _bytes(key).hex()

    async def _name(self, registers: Registers, payer: Payer | None) -> None:
        """Also that there is none: else the one before would stand in what is signed."""
        address = self._options.identification
        for words in em580_registers(identification(payer)):
            await registers.write(address, *words)
            address += len(words)

    async def settle(self, registers: Registers) -> None:
        """Else the meter takes the file for one that nobody has read, and we for the next one."""
        await registers.write(self._options.state, self._options.idle)


def _is(told: int, good: int, waiting: tuple[int, ...], what: str) -> bool:
    if told != good and told not in waiting:
        raise ProtocolError(f"its {what} failed (status {told}); look it up in the meter's manual")
    return told == good


async def _command(registers: Registers, address: int, value: int) -> None:
    """What the meter does tells whether it came through, not the answer, which may get lost."""
    with suppress(NoAnswer):
        await registers.write(address, value)


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(SIGN_WITHIN_S):
            while True:
                with suppress(NoAnswer):
                    if await condition():
                        return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise ProtocolError(
            f"{what} was not ready within {SIGN_WITHIN_S:g} s; look at the meter's display"
        ) from None


def _bytes(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(2, "big") for word in words)


def _text(words: list[int]) -> str:
    return _bytes(words).split(b"\0")[0].decode("utf-8", "replace").strip()
