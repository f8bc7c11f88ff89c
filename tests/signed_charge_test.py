"""Charges whose meter signs, from its registers to the CSMS: the real driver in a whole station."""

import asyncio
import json
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec.structs import replace

from agent.settings import Settings
from drivers.bus.modbus_line import ModbusLine
from drivers.contract import Device, ModbusMeterOptions, SerialLine
from drivers.meters.modbus_meter import ModbusMeter
from drivers.sim.connector import Ev
from hil.desk import DeskBench
from hil.parts.bytes_under_way import BytesUnderWay
from hil.parts.modbus_slave import ModbusSlave
from hil.parts.pty_port import PtyPort
from hil.parts.signing_meters import BauerBsm, GavazziEm580, IskraWm3, SigningMeter
from hil.scenarios.day import begin, drained, end
from hil.sim import SimBench
from hil.virtual_time import run_virtual

BSM, WM3, EM580 = "bauer_bsm_ws36a", "iskra_wm3m4c", "carlo_gavazzi_em580"
MODELS: dict[str, type[SigningMeter]] = {BSM: BauerBsm, WM3: IskraWm3, EM580: GavazziEm580}
CARD, OTHER_CARD = "04A1B2C3", "04D4E5F6A7B8C9"
SIGNED = {"SampledDataCtrlr.SignReadings": "true"}
ALIGNED = {"AlignedDataCtrlr.SignReadings": "true"}
NOBODY = {"IS": False, "IF": [], "IT": "NONE", "ID": ""}

Payload = dict[str, Any]


class Station(SimBench):
    """One simulated EVSE, its meter (or the main one) read by the real driver on a pty."""

    def __init__(self, model: str, variables: dict[str, str], place: str = "meter1") -> None:
        def change(settings: Settings) -> Settings:
            options = ModbusMeterOptions(line="bus", model=model)
            return replace(settings, devices={**settings.devices, place: options})

        super().__init__(
            evse_count=1, variables=variables, main_meter=place == "main", change=change
        )
        self.device = MODELS[model]()
        self.device.counts = self._counted_wh
        self.port = PtyPort()
        below = self.board.build

        def build(name: str, options: Any = None) -> Device:
            if isinstance(options, ModbusMeterOptions):
                line = ModbusLine("bus", SerialLine(port=self.port.path))
                return ModbusMeter(name, options, line)
            return below(name, options)

        self.board.build = build  # type: ignore[method-assign]

    async def start(self, *, cold: bool = True) -> None:
        if not self.port.plugged:
            self.port.open()
            ModbusSlave(self.port, {1: self.device.unit()})
        await super().start(cold=cold)

    def _counted_wh(self) -> float:
        self.board.live.catch_up()
        return self.board.world.meter(1).energy_wh

    @property
    def book(self) -> list[Payload]:
        """Events of the last transaction."""
        return list(self.csms.transactions.values())[-1]


def played(
    scene: Callable[[Station], Awaitable[None]],
    model: str,
    variables: dict[str, str] = SIGNED,
    **options: str,
) -> Station:
    async def play() -> Station:
        async with Station(model, variables, **options) as station:
            await station.csms.wait_for("StatusNotification")
            await asyncio.sleep(5)
            await scene(station)
            await drained(station)
            station.csms.check()
        station.port.unplug()
        return station

    with BytesUnderWay() as under_way:
        return run_virtual(play(), fd_grace_s=under_way.grace_s)


async def charge(station: Station, card: str = CARD) -> None:
    await begin(station, 1, card)
    await asyncio.sleep(150)
    await end(station, 1, card)
    station.plug_out(1)
    await asyncio.sleep(5)


def values(event: Payload, context: str) -> list[Payload]:
    """The energy of an event's meter values."""
    samples = [s for value in event.get("meterValue", ()) for s in value["sampledValue"]]
    return [s for s in samples if s["context"] == context and "measurand" not in s]


def opened(sample: Payload, device: SigningMeter) -> Payload | None:
    """What the meter signed, checked as a customer's transparency software does; None: nothing."""
    signed = sample.get("signedMeterValue")
    if signed is None:
        return None
    assert (signed["encodingMethod"], signed["signingMethod"]) == (
        "OCMF",
        "ECDSA-secp256r1-SHA256",
    )
    kind, payload, signature = b64decode(signed["signedMeterData"], validate=True).split(b"|", 2)
    assert kind == b"OCMF"
    key = device.public_hex()
    if signed["publicKey"]:
        assert b64decode(signed["publicKey"]).decode() == f"oca:base16:asn1:{key}"
    public = load_der_public_key(bytes.fromhex(key))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(bytes.fromhex(json.loads(signature)["SD"]), payload, ec.ECDSA(SHA256()))
    found: Payload = json.loads(payload)
    assert device.payloads[int(found["PG"].removeprefix("T")) - 1].encode() == payload
    assert round(found["RD"][-1]["RV"] * 1000) == sample["value"]
    return found


def moments(found: Payload | None) -> list[str]:
    return [one["TX"] for one in found["RD"]] if found is not None else []


def user(found: Payload | None) -> Payload:
    assert found is not None
    return {name: found[name] for name in NOBODY}


@pytest.mark.parametrize(
    ("model", "at_begin", "between", "at_end"),
    [
        (BSM, ["C"], ["C"], ["C"]),
        (WM3, ["B"], [], ["B", "E"]),
        (EM580, [], [], ["B", "E"]),
    ],
)
def test_the_csms_gets_what_the_meter_signed_and_the_signature_holds(
    model: str, at_begin: list[str], between: list[str], at_end: list[str]
) -> None:
    station = played(charge, model)
    device, book = station.device, station.book
    (started,) = values(book[0], "Transaction.Begin")
    updates = [s for event in book[1:-1] for s in values(event, "Sample.Periodic")]
    (ended,) = values(book[-1], "Transaction.End")
    assert (book[0]["eventType"], book[-1]["eventType"]) == ("Started", "Ended")
    assert len(updates) >= 2
    assert moments(opened(started, device)) == at_begin
    assert all(moments(opened(sample, device)) == between for sample in updates)
    last = opened(ended, device)
    assert last is not None
    assert moments(last) == at_end
    if at_end == ["B", "E"]:
        assert round(last["RD"][0]["RV"] * 1000) == started["value"]
    assert ended["value"] > started["value"]
    found = [opened(sample, device) for sample in (started, *updates, ended)]
    pages = [int(one["PG"][1:]) for one in found if one is not None]
    assert pages == sorted(set(pages)), "each value has signed data of its own"
    keys = [s["signedMeterValue"]["publicKey"] for s in (started, *updates, ended)
            if "signedMeterValue" in s]  # fmt: skip
    told = 0 if model == BSM else 1
    assert [bool(key) for key in keys] == [True] * told + [False] * (len(keys) - told)


@pytest.mark.parametrize("model", [WM3, EM580])
def test_the_meter_signs_whose_charge_it_is_and_forgets_the_one_before(model: str) -> None:
    async def scene(station: Station) -> None:
        await charge(station)
        await charge(station, OTHER_CARD)

    station = played(scene, model)
    ids = []
    for book in station.csms.transactions.values():
        (ended,) = values(book[-1], "Transaction.End")
        named = user(opened(ended, station.device))
        ids.append(named.pop("ID"))
        assert named == {"IS": True, "IF": ["RFID_PLAIN"], "IT": "ISO14443"}
    assert ids == [CARD, OTHER_CARD]


@pytest.mark.parametrize("model", [WM3, EM580])
def test_who_pays_is_not_known_yet_when_the_plug_begins_the_session(model: str) -> None:
    async def scene(station: Station) -> None:
        station.plug_in(1)
        await station.csms.wait_for("TransactionEvent")
        await asyncio.sleep(30)
        station.plug_out(1)
        await station.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")

    start = {"TxCtrlr.TxStartPoint": "EVConnected", "TxCtrlr.TxStopPoint": "EVConnected"}
    station = played(scene, model, SIGNED | start)
    (ended,) = values(station.book[-1], "Transaction.End")
    assert user(opened(ended, station.device)) == NOBODY


@pytest.mark.parametrize("trouble", ["stuck", "fails", "silent"])
@pytest.mark.parametrize("model", [BSM, WM3, EM580])
def test_a_meter_that_does_not_sign_the_end_does_not_hold_it_up(
    model: str, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(station: Station) -> None:
        await begin(station, 1, CARD)
        await asyncio.sleep(90)
        station.device.is_stuck = trouble == "stuck"
        station.device.fails_with = 254 if trouble == "fails" else None
        if trouble == "silent":
            station.port.on_bytes = lambda data: None
        began_s = asyncio.get_running_loop().time()
        station.swipe(CARD)
        await station.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")
        assert asyncio.get_running_loop().time() - began_s < 35

    with caplog.at_level(logging.WARNING):
        station = played(scene, model)
    last = station.book[-1]
    (ended,) = values(last, "Transaction.End")
    assert (last["eventType"], last["transactionInfo"]["stoppedReason"]) == ("Ended", "Local")
    (started,) = values(station.book[0], "Transaction.Begin")
    assert ended["value"] > started["value"]
    if (model, trouble) == (BSM, "silent"):
        assert moments(opened(ended, station.device)) == ["C"], "the last stored value, as it was"
        return
    assert "signedMeterValue" not in ended
    assert "the end value is not signed" in caplog.text
    if trouble != "silent":
        assert "value without a signature" in caplog.text
        assert ended["value"] == station.device.energy_wh


@pytest.mark.parametrize(
    ("variables", "wanted"), [(SIGNED, ["C"]), (ALIGNED, []), (SIGNED | ALIGNED, ["C"])]
)
def test_an_event_that_is_asked_for_is_signed_where_samples_are(
    variables: dict[str, str], wanted: list[str]
) -> None:
    async def scene(station: Station) -> None:
        await begin(station, 1, CARD)
        await asyncio.sleep(5)
        order = {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}
        for _ in range(2):
            assert await station.csms.call("TriggerMessage", order) == {"status": "Accepted"}
            (sample,) = await triggered(station)
            assert moments(opened(sample, station.device)) == (
                ["C"] * (ALIGNED.items() <= variables.items())
            )
            await asyncio.sleep(5)
        await end(station, 1, CARD)

    station = played(scene, BSM, variables)
    told = [event for event in station.book if event["triggerReason"] == "Trigger"]
    assert len(told) == 2
    for event in told:
        (sample,) = values(event, "Trigger")
        assert moments(opened(sample, station.device)) == wanted


def test_a_start_by_signed_data_waits_for_them() -> None:
    station = played(charge, WM3, {"TxCtrlr.TxStartPoint": "DataSigned"} | SIGNED)
    first = station.book[0]
    assert (first["eventType"], first["triggerReason"]) == ("Started", "SignedDataReceived")
    (started,) = values(first, "Transaction.Begin")
    assert moments(opened(started, station.device)) == ["B"]


# --- outside of transactions ----------------------------------------------------------------------


async def triggered(station: Station, **asked: Any) -> list[Payload]:
    """The values that the CSMS asks for now."""
    station.csms.forget()
    order = {"requestedMessage": "MeterValues", **asked}
    assert await station.csms.call("TriggerMessage", order) == {"status": "Accepted"}
    told = await station.csms.wait_for("MeterValues")
    return values(told, "Trigger")


@pytest.mark.parametrize(
    ("model", "variables", "wanted"),
    [(BSM, ALIGNED, ["C"]), (BSM, SIGNED, []), (WM3, ALIGNED, []), (EM580, ALIGNED, [])],
)
def test_values_that_are_asked_for_are_signed_where_the_variable_wants_it_and_the_meter_can(
    model: str, variables: dict[str, str], wanted: list[str]
) -> None:
    async def scene(station: Station) -> None:
        for asked in ({}, {"evse": {"id": 1}}):
            (sample,) = await triggered(station, **asked)
            assert moments(opened(sample, station.device)) == wanted
        await asyncio.sleep(60)
        assert len(station.csms.of("MeterValues")) == 2, "once for each question"

    played(scene, model, variables)


def test_a_meter_that_is_stuck_still_tells_the_values_it_is_asked_for() -> None:
    async def scene(station: Station) -> None:
        station.device.is_stuck = True
        (sample,) = await triggered(station)
        assert "signedMeterValue" not in sample

    played(scene, BSM, ALIGNED)


def test_clock_aligned_values_are_signed_within_a_charge_and_outside() -> None:
    async def scene(station: Station) -> None:
        await station.csms.wait_for("MeterValues")
        await begin(station, 1, CARD)
        await asyncio.sleep(90)
        await end(station, 1, CARD)

    station = played(scene, BSM, ALIGNED | {"AlignedDataCtrlr.Interval": "60"})
    outside = [s for m in station.csms.of("MeterValues") for s in values(m, "Sample.Clock")]
    within = [s for event in station.book for s in values(event, "Sample.Clock")]
    assert outside
    assert within
    assert all(moments(opened(s, station.device)) == ["C"] for s in (*outside, *within))
    (ended,) = values(station.book[-1], "Transaction.End")
    assert "signedMeterValue" not in ended, "SampledDataCtrlr.SignReadings is false"


def test_the_main_meter_signs_what_is_asked_of_it() -> None:
    async def scene(station: Station) -> None:
        (sample,) = await triggered(station, evse={"id": 0})
        assert moments(opened(sample, station.device)) == ["C"]

    played(scene, BSM, ALIGNED, place="main")


# --- the agent's own process ----------------------------------------------------------------------


async def test_the_process_sells_a_charge_with_the_meters_signatures() -> None:
    """Real seconds; the sessions of a WM3M4, the second one with a meter that fails at its end."""
    async with DeskBench() as bench:
        device = IskraWm3()
        device.counts = lambda: bench.energy_wh(1)
        bench.meters.units[1] = device.unit()
        content = yaml.safe_load(bench.config.read_text())
        content["devices"]["meter_left"]["model"] = WM3
        component, variable = {"name": "SampledDataCtrlr"}, {"name": "SignReadings"}
        first = {"component": component, "variable": variable, "value": "true"}
        content["ocpp"]["variables"].append(first)
        bench.config.write_text(yaml.safe_dump(content))
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        for number in (1, 2):
            bench.plug_in(1, Ev(current_a=16.0, ready_after_s=0.2))
            await bench.swipe(CARD)
            await bench.wait_until(lambda: bench.drawn_a(1) > 0, "a charging EV")
            device.fails_with = None if number == 1 else 254
            target_wh = bench.energy_wh(1) + 3.0
            await bench.wait_until(lambda wh=target_wh: bench.energy_wh(1) >= wh, "3 Wh")
            await bench.swipe(CARD)

            def has_ended(number: int = number) -> bool:
                books = list(bench.csms.transactions.values())
                return len(books) == number and books[-1][-1]["eventType"] == "Ended"

            await bench.wait_until(has_ended, "the end", 60.0)
            bench.plug_out(1)
        bench.csms.check()
        good, bad = bench.csms.transactions.values()
        (started,), (ended,) = (
            values(good[0], "Transaction.Begin"),
            values(good[-1], "Transaction.End"),
        )
        assert moments(opened(started, device)) == ["B"]
        last = opened(ended, device)
        assert (moments(last), user(last)["ID"]) == (["B", "E"], CARD)
        (unsigned,) = values(bad[-1], "Transaction.End")
        assert "signedMeterValue" not in unsigned
        journal = bench.agent_log.read_text()
        assert "value without a signature" in journal
        assert "EVSE 1: the end value is not signed" in journal
        assert CARD not in journal
