"""What `make fuzz` does to the devices' lines for long, here for a moment. That it would notice:
checks on the way from bytes to values are taken away, one at a time."""

import asyncio
import random
from base64 import b64decode
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from pymodbus.framer.rtu import FramerRTU

from drivers.bus.modbus_request import Request
from drivers.contract import DriverError, Payer, ProtocolError, Signing
from drivers.gpio.board import GpioBoard
from drivers.gpio.closing import Closing, View
from drivers.meters import modbus_meter, ocmf
from drivers.meters.register_map import find
from drivers.meters.signing import LONGEST, signed_data
from drivers.pilots import rapi
from drivers.pilots.rapi import decode
from drivers.readers import keys, pn532_frames, serial_line
from hil import fuzz_lines
from hil.fuzz_bytes import DEVICES, play
from hil.fuzz_lines import SPOILS, Spoil, flipped, one_bit
from hil.fuzz_station import Failing
from hil.parts.keyboard import stroke
from hil.virtual_time import run_virtual

MOST_KEPT = pn532_frames.MAX_UNREAD
"""Bytes of a frame that is not whole yet, and of what came with it."""


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_driver_reports_under_nonsense_is_right_or_an_error(device: str) -> None:
    heard = play(device, 7)
    assert heard.spoiled >= 30
    assert heard.right > 0


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_each_kind_of_nonsense_by_itself(spoil: Spoil) -> None:
    play("meter on a line", 7, spoil)


# --- that it would notice -------------------------------------------------------------------------


def lie(frame: bytes, dice: random.Random) -> bytes:
    """A wrong value under a good checksum, which alone tells such a value from a right one."""
    if len(frame) < 40:
        return frame
    body = bytearray(frame[:-2])
    body[4] ^= 1
    return bytes(body) + fuzz_lines.crc16(bytes(body))


def test_a_wrong_value_under_a_good_checksum_would_be_seen_here() -> None:
    with pytest.raises(Failing, match="a wrong value was reported"):
        play("meter on a line", 7, lie)


def no_crc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FramerRTU, "check_CRC", lambda *args: True)


def no_look_at_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "mismatch", lambda request, response: "")


def no_look_at_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_meter, "doubt", lambda before, after, model: "")
    no_crc(monkeypatch)


def no_xor(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(line: bytes) -> rapi.Frame | None:
        body = line[max(line.rfind(b"$"), 0) :].rpartition(b"^")[0]
        return decode(body + f"^{rapi.checksum(body):02X}".encode())

    monkeypatch.setattr(rapi, "decode", decoded)


def no_check_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_line, "rdm6300", lambda number: number[:10])


def no_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pn532_frames, "_adds_up", lambda checked: True)


def no_look_at_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GpioBoard, "_step", lambda self: None)


def no_fault_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Closing.step

    def step(self: Closing, view: View, now_s: float) -> None:
        good(self, replace(view, rcd=False, dc_fault=False), now_s)

    monkeypatch.setattr(Closing, "step", step)


@pytest.mark.parametrize(
    ("device", "fault", "spoils", "enough"),
    [
        ("meter on a line", no_crc, [flipped], 300),
        ("meter on a line", no_look_at_the_energy, [flipped], 300),
        ("meter by rtu-tcp", no_crc, [flipped], 60),
        ("meter by tcp", no_look_at_the_answer, [], 300),
        ("evse_wb on a line", no_crc, [flipped], 300),
        ("evse_wb by tcp", no_look_at_the_answer, [], 300),
        ("phoenix on a line", no_crc, [flipped], 300),
        ("iskra_wm3m4c", no_crc, [flipped], 60),
        ("openevse", no_xor, [], 300),
        ("rdm6300", no_check_digits, [], 300),
        ("pn532", no_sum, [one_bit], 300),
        ("gpio edges", no_look_at_edges, [], 30),
        ("gpio edges", no_fault_inputs, [], 300),
    ],
)
def test_a_check_that_is_missing_is_noticed(
    device: str,
    fault: Callable[[pytest.MonkeyPatch], None],
    spoils: list[Spoil],
    enough: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    with pytest.raises(Failing):
        play(device, 7, *spoils, enough=enough)


# --- parsers by themselves ------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_the_rapi_decoder_takes_any_line(line: bytes) -> None:
    frame = decode(line)
    assert frame is None or b"^" in line


@given(st.text(alphabet="$^:0123456789ABCDEFOKNKAT ", max_size=60))
@example("$OK 1^ZZ")
@example("$OK 1 :ZZ^7E")
def test_the_rapi_decoder_takes_any_line_of_its_own_letters(line: str) -> None:
    decode(line.encode())


@given(st.lists(st.binary(max_size=300), max_size=20))
@example([b"\x01" * 300] * 20)
@example([b"\x00\xff\xff\x01" + b"\x01" * 200] * 20)
def test_the_pn532_parser_takes_any_bytes_and_keeps_few(parts: list[bytes]) -> None:
    splitter = pn532_frames.Splitter()
    for part in parts:
        splitter.feed(part)
        assert len(splitter._data) <= MOST_KEPT
    good = bytes.fromhex("00" * 300 + "0000ff06fad50332010607e800")
    assert splitter.feed(good)[-1].code == 0x03, "the next good frame is heard"


@given(st.lists(st.binary(max_size=200), max_size=20))
@example([stroke(16) * 100])
def test_the_keyboard_parser_takes_any_bytes(parts: list[bytes]) -> None:
    typing = keys.Typing()
    for part in parts:
        for number in typing.feed(part):
            assert number.isprintable()
        assert len(typing._line) <= keys.MAX_LENGTH


# --- what a meter says that it signed -------------------------------------------------------------


@given(st.text(max_size=3000) | st.binary(max_size=400).map(lambda b: b.decode("utf-8", "replace")))
@example('OCMF|{"RD":[]}|{"SD":"00"}')
@example('OCMF|{"RD":[]}|{"SD":"00","SA":[1]}')
@example('OCMF|[]|"SD"')
@example('OCMF|{"RD":[]}|{"SD":"' + "0" * 2000 + '"}')
@example('OCMF|{"RD":1e999}|{"SD":NaN}')
@example("OCMF|" + "[" * 5000 + "|{}")
@example('OCMF|{"RD":[]}|{"SD":"00","SA":"' + "x" * 51 + '"}')
@example('OCMF|{"RD":[]}|["SD"]')
def test_signed_data_are_passed_on_as_they_are_or_refused(text: str) -> None:
    try:
        signed = signed_data(text, "")
    except ProtocolError:
        return
    assert b64decode(signed.data).decode() == text
    assert len(signed.data) <= LONGEST
    assert len(signed.signing_method) <= 50


class Nonsense:
    """Registers that say anything."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._told = [0, 1, 2, 3, 15, 66, 0x5375, 0x6E53, 64903, 0xFFFF]

    async def read(self, address: int, count: int) -> list[int]:
        assert 0 < count <= 2 * 1024 + 2
        await asyncio.sleep(0.1)
        likely = self._dice.random() < 0.9
        return [
            self._dice.choice(self._told) if likely else self._dice.randrange(0x10000)
            for _ in range(count)
        ]

    async def write(self, address: int, *values: int) -> None:
        assert all(0 <= value <= 0xFFFF for value in values)


@pytest.mark.parametrize("model", ["bauer_bsm_ws36a", "iskra_wm3m4c", "carlo_gavazzi_em580"])
@given(st.integers(0, 10_000), st.text(max_size=60), st.sampled_from(["ISO14443", "eMAID", "x"]))
def test_a_meter_that_answers_its_procedure_with_anything_brings_an_error_or_a_text(
    model: str, seed: int, number: str, kind: str
) -> None:
    options = find(model).signing
    assert options is not None

    async def scene() -> None:
        procedure = ocmf.procedure_of(options)
        registers = Nonsense(random.Random(seed))
        for signing in (Signing.BEGIN, Signing.VALUE, Signing.END):
            try:
                if await procedure.order(registers, signing, Payer(number, kind)):
                    text, key = await procedure.fetch(registers)
                    signed_data(text, key)
            except DriverError:
                continue

    run_virtual(scene())
