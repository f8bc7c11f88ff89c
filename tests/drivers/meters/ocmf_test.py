"""Meters that sign, through the pty: their OCMF untouched, or the plain value and a reason."""

import asyncio
import json
import logging
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import (
    DeviceLost,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    ProtocolError,
    SerialLine,
    Signing,
)
from drivers.meters import ocmf
from drivers.meters.modbus_meter import ModbusMeter
from drivers.meters.signing import LONGEST, public_key, signed_data
from hil.parts.modbus_slave import Fault, ModbusSlave
from hil.parts.pty_port import PtyPort
from hil.parts.signing_meters import BauerBsm, GavazziEm580, IskraWm3, SigningMeter

MODELS = {
    "bauer_bsm_ws36a": BauerBsm,
    "iskra_wm3m4c": IskraWm3,
    "carlo_gavazzi_em580": GavazziEm580,
}
FIRST_SIGNED = {
    "bauer_bsm_ws36a": Signing.VALUE,
    "iskra_wm3m4c": Signing.BEGIN,
    "carlo_gavazzi_em580": Signing.END,
}


class Bench:
    def __init__(self, model: str) -> None:
        self.device: SigningMeter = MODELS[model]()
        self.port = PtyPort()
        self.port.open()
        self.slave = ModbusSlave(self.port, {1: self.device.unit()})
        options = ModbusMeterOptions(line="bus", model=model, interval_s=0.05, timeout_s=0.2)
        self.line = ModbusLine("bus", SerialLine(port=self.port.path, baud=115200))
        self.meter = ModbusMeter("m", options, self.line)
        self.seen: list[object] = []
        self.task = asyncio.create_task(self.meter.run(self.seen.append))

    def answers(self, signing: Signing) -> list[MeterReading]:
        readings = [o.reading for o in self.seen if isinstance(o, MeterSeen)]
        return [reading for reading in readings if reading.signing is signing]

    def plain(self) -> int:
        return len(self.answers(Signing.LATER))

    async def end(self) -> None:
        assert not self.task.done(), "the driver ended by itself"
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.port.unplug()


@pytest.fixture(params=MODELS)
async def bench(request, eventually, monkeypatch):
    monkeypatch.setattr(ocmf, "POLL_S", 0.01)
    bench = Bench(request.param)
    bench.model = request.param
    await eventually(bench.plain)
    yield bench
    await bench.end()


@pytest.fixture
def asked(bench, eventually):
    """The answer of the meter to what is asked of it."""

    async def ask(signing: Signing) -> MeterReading:
        before = len(bench.answers(signing))
        bench.meter.read_soon(signing)
        await eventually(lambda: len(bench.answers(signing)) > before)
        return bench.answers(signing)[-1]

    return ask


async def to_first_signed(bench, asked) -> MeterReading:
    if FIRST_SIGNED[bench.model] is Signing.END:
        assert (await asked(Signing.BEGIN)).signature is None
    return await asked(FIRST_SIGNED[bench.model])


def verified(reading: MeterReading, device: SigningMeter) -> list[str]:
    """The moments that are signed; raises where the signature is not the device's."""
    assert reading.signature is not None
    told = reading.signature
    assert (told.encoding_method, told.signing_method) == ("OCMF", "ECDSA-secp256r1-SHA256")
    kind, payload, signature = b64decode(told.data, validate=True).decode().split("|", 2)
    assert kind == "OCMF"
    key = bytes.fromhex(device.public_hex())
    if told.public_key:
        assert b64decode(told.public_key).decode() == f"oca:base16:asn1:{key.hex()}"
    public = load_der_public_key(key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    signed = bytes.fromhex(json.loads(signature)["SD"])
    public.verify(signed, payload.encode(), ec.ECDSA(SHA256()))
    readings = json.loads(payload)["RD"]
    assert readings[-1]["RV"] * 1000 == reading.energy_wh
    return [one["TX"] for one in readings]


async def test_a_session_is_signed_as_far_as_the_meter_does(bench, asked) -> None:
    moments = {}
    for signing in (Signing.BEGIN, Signing.VALUE, Signing.END):
        bench.device.energy_wh += 700
        reading = await asked(signing)
        moments[signing] = verified(reading, bench.device) if reading.signature else None
        assert reading.energy_wh == bench.device.energy_wh
    begin, value, end = moments.values()
    match bench.model:
        case "bauer_bsm_ws36a":
            assert begin == value == end == ["C"]
        case "iskra_wm3m4c":
            assert (begin, value, end) == (["B"], None, ["B", "E"])
        case _:
            assert (begin, value, end) == (None, None, ["B", "E"])
    assert bench.meter.signs
    assert bench.meter.signs_begin is (begin is not None)


async def test_a_session_that_somebody_left_open_is_closed_before_the_next(bench, asked) -> None:
    await asked(Signing.BEGIN)
    await asked(Signing.BEGIN)
    assert verified(await asked(Signing.END), bench.device)


async def test_an_end_without_a_session_is_a_plain_value(bench, asked) -> None:
    reading = await asked(Signing.END)
    assert (reading.signature is None) is (bench.model != "bauer_bsm_ws36a")


@pytest.mark.parametrize("trouble", ["stuck", "fails", "too long"])
async def test_what_is_not_signed_comes_plain_with_a_reason(
    bench, asked, trouble: str, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(ocmf, "SIGN_WITHIN_S", 0.3)
    if FIRST_SIGNED[bench.model] is Signing.END:
        await asked(Signing.BEGIN)
    if trouble == "stuck":
        bench.device.is_stuck = True
    elif trouble == "fails":
        bench.device.fails_with = 3 if bench.model != "iskra_wm3m4c" else 254
    else:
        if bench.model != "carlo_gavazzi_em580":
            return  # the others' registers hold less than OCPP takes
        bench.device.padding = "x" * 1800
    with caplog.at_level(logging.WARNING, "drivers.meters.signer"):
        reading = await asked(FIRST_SIGNED[bench.model])
    assert reading.signature is None
    assert reading.energy_wh == bench.device.energy_wh
    reason = {"stuck": "not ready within", "fails": "failed (status", "too long": str(LONGEST)}
    assert reason[trouble] in caplog.text
    assert "value without a signature" in caplog.text


async def test_regular_readings_go_on_while_it_signs(bench, asked, eventually, monkeypatch) -> None:
    monkeypatch.setattr(ocmf, "SIGN_WITHIN_S", 1.0)
    signing = FIRST_SIGNED[bench.model]
    if signing is Signing.END:
        await asked(Signing.BEGIN)
    bench.device.is_stuck = True
    before = bench.plain()
    bench.meter.read_soon(signing)
    await eventually(lambda: bench.answers(signing))
    assert bench.plain() > before + 1


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.LATE, Fault.DOUBLED, Fault.BAD_CRC])
async def test_a_disturbed_line_brings_whole_data_or_none(
    bench, asked, eventually, fault: Fault
) -> None:
    for place in range(1, 12, 3):
        if FIRST_SIGNED[bench.model] is Signing.END:
            await asked(Signing.BEGIN)
        count = len(bench.slave.requests)

        def spoil(count: int = count, place: int = place) -> None:
            if len(bench.slave.requests) >= count + place:
                bench.slave.inject(fault, times=1, delay_s=0.25)
            else:
                asyncio.get_running_loop().call_later(0.002, spoil)

        spoil()
        reading = await asked(FIRST_SIGNED[bench.model])
        await eventually(lambda count=count, place=place: len(bench.slave.requests) > count + place)
        assert reading.energy_wh == bench.device.energy_wh
        if reading.signature is not None:
            verified(reading, bench.device)
        bench.slave.heal()
    reading = await to_first_signed(bench, asked)
    if reading.signature is None:
        reading = await to_first_signed(bench, asked)
    assert verified(reading, bench.device)


async def test_a_meter_that_is_gone_is_lost_and_signs_when_it_is_back(
    bench, asked, eventually
) -> None:
    bench.slave.inject(Fault.SILENT)
    bench.meter.read_soon(FIRST_SIGNED[bench.model])
    await eventually(lambda: any(isinstance(o, DeviceLost) for o in bench.seen))
    bench.slave.heal()
    reading = await to_first_signed(bench, asked)  # perhaps the late answer to the first question
    if reading.signature is None:
        reading = await to_first_signed(bench, asked)
    assert verified(reading, bench.device)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OCMF",
        "OCMF|{}|{}",
        "ocmf|{}",
        'OCMF|{"RD":[]}|{"SD":""}',
        'OCMF|{"RD":[]}|[1]',
        "\ufffd",
    ],
)
def test_what_is_no_whole_ocmf_is_no_signature(text: str) -> None:
    with pytest.raises(ProtocolError, match="no whole OCMF"):
        signed_data(text, "")


def test_the_method_is_the_one_the_data_name() -> None:
    told = signed_data('OCMF|{"RD":[]}|{"SA":"ECDSA-secp256k1-SHA256","SD":"00"}', "")
    assert (told.signing_method, told.public_key) == ("ECDSA-secp256k1-SHA256", "")


def test_data_longer_than_ocpp_takes_are_not_cut() -> None:
    text = 'OCMF|{"RD":[]}|{"SD":"%s"}'
    room = LONGEST // 4 * 3 - len(text % "")
    assert len(signed_data(text % ("0" * room), "").data) == LONGEST
    with pytest.raises(ProtocolError, match="2504 characters"):
        signed_data(text % ("0" * (room + 1)), "")


def test_a_key_of_zeros_is_none() -> None:
    assert public_key("00" * 64) == ""


async def test_a_bug_while_it_signs_ends_the_driver_and_is_not_silence(monkeypatch) -> None:
    async def fail(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(ocmf.IskraSession, "order", fail)
    bench = Bench("iskra_wm3m4c")
    bench.meter.read_soon(Signing.BEGIN)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(bench.task, 20)
    bench.port.unplug()
