import asyncio
import contextlib
import struct
from collections import deque

import pytest
from umodbus.client.serial.redundancy_check import get_crc

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    MeterSeen,
    ModbusMeterOptions,
    ProtocolError,
    SerialLine,
)
from drivers.meters import modbus_meter, register_map
from drivers.meters.coding import Field
from drivers.meters.modbus_meter import ModbusMeter
from drivers.meters.packing import Block
from drivers.meters.register_map import RegisterMap

SDM630 = register_map.find("eastron_sdm630_v2")
TWO_BLOCKS = RegisterMap(
    names=("two blocks",),
    phases=1,
    fields={
        "voltage_l1": Field(0, "float32"),
        "energy_import": Field(72, "float32", scale=1000),
        "serial": Field(100, "uint32", function=3),
    },
    blocks=(Block(0, 4), Block(72, 3), Block(200, 6, optional=True)),
)
REFUSAL = b"\x01\x84\x02" + get_crc(b"\x01\x84\x02")


class Bench:
    def __init__(self, slave, far_end) -> None:
        self.slave = slave
        self.line = ModbusLine("bus", SerialLine(port=far_end.path, baud=115200))
        self.observations: list[object] = []
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, model=SDM630, unit=1, interval_s=0.05, timeout_s=0.1, name="m") -> ModbusMeter:
        options = ModbusMeterOptions(
            line="bus", model="test", unit=unit, interval_s=interval_s, timeout_s=timeout_s
        )
        meter = ModbusMeter(name, options, self.line, model)
        self.tasks.append(asyncio.create_task(meter.run(self.observations.append)))
        return meter

    def seen(self, name="m"):
        return [
            o.reading for o in self.observations if isinstance(o, MeterSeen) and o.device == name
        ]

    def count(self, kind, name="m") -> int:
        return sum(isinstance(o, kind) and o.device == name for o in self.observations)


@pytest.fixture
async def bench(slave, far_end):
    bench = Bench(slave, far_end)
    slave.set_float(0, 230.0)
    slave.set_float(72, 1234.5)
    yield bench
    for task in bench.tasks:
        assert not task.done(), "a driver ended by itself"
        task.cancel()
    await asyncio.gather(*bench.tasks, return_exceptions=True)


async def test_an_sdm630_is_read_whole_with_its_serial_number(bench, slave, eventually) -> None:
    for address, value in ((2, 231.0), (4, 232.0), (6, 1.5), (8, 2.5), (10, 3.5)):
        slave.set_float(address, value)
    for address, value in ((12, 345.0), (14, 577.5), (16, 812.0), (52, 1734.5), (70, 500.0)):
        slave.set_float(address, value)
    slave.set_words(0xFC00, [0x0123, 0x4567], function=3)
    bench.start()
    await eventually(bench.seen)
    reading = bench.seen()[0]
    assert reading.energy_wh == 1_234_500.0
    assert reading.step_wh == 1.0
    assert reading.serial == str(0x01234567)
    assert reading.voltage_v == (230.0, 231.0, 232.0)
    assert reading.current_a == (1.5, 2.5, 3.5)
    assert reading.power_phase_w == (345.0, 577.5, 812.0)
    assert reading.power_w == 1734.5
    assert reading.frequency_hz == 50.0


async def test_reports_keep_to_their_grid(bench, eventually) -> None:
    bench.start(interval_s=0.1)
    await eventually(lambda: len(bench.seen()) >= 10)
    times = [reading.at_s for reading in bench.seen()]
    assert (times[-1] - times[0]) / 0.1 >= len(times) - 1 - 0.5
    start_s = times[1]
    on_grid = [abs((at_s - start_s) / 0.1 - round((at_s - start_s) / 0.1)) < 0.3 for at_s in times]
    assert sum(on_grid) > len(times) / 2


async def test_read_soon_brings_a_report_before_the_regular_one(bench, eventually) -> None:
    meter = bench.start(interval_s=3600.0)
    await eventually(lambda: len(bench.seen()) == 1)
    meter.read_soon()
    await eventually(lambda: len(bench.seen()) == 2)


async def test_silence_is_reported_once_and_so_is_the_return(bench, slave, eventually) -> None:
    bench.start()
    await eventually(bench.seen)
    slave.units = set()
    await eventually(lambda: bench.count(DeviceLost))
    asked = len(slave.requests)
    await eventually(lambda: len(slave.requests) > asked + 1)
    slave.units = {1}
    await eventually(lambda: bench.count(DeviceFound))
    kinds = [type(o) for o in bench.observations if not isinstance(o, MeterSeen)]
    assert kinds == [DeviceLost, DeviceFound]


async def test_one_missed_cycle_is_no_loss(bench, slave, eventually) -> None:
    bench.start()
    await eventually(bench.seen)
    slave.units = set()
    asked = len(slave.requests)
    await eventually(lambda: len(slave.requests) > asked)
    slave.units = {1}
    seen = len(bench.seen())
    await eventually(lambda: len(bench.seen()) > seen + 2)
    assert bench.count(DeviceLost) == 0


async def test_a_dead_meter_does_not_starve_its_neighbour(bench, slave, eventually) -> None:
    slave.units = {2}
    bench.start(unit=1, name="dead")
    bench.start(unit=2, name="alive")
    await eventually(lambda: bench.count(DeviceLost, "dead"))
    seen, asked = len(bench.seen("alive")), len(slave.requests)
    await eventually(lambda: len(bench.seen("alive")) > seen + 20)
    to_the_dead = [r for r in slave.requests[asked:] if r.unit == 1]
    assert len(to_the_dead) <= 6
    assert bench.count(DeviceLost, "alive") == 0


TROUBLES = {
    "late": lambda request, answer, old: [(0.13, answer)],
    "very late": lambda request, answer, old: [(0.37, answer)],
    "doubled": lambda request, answer, old: [(0.0, answer), (0.02, answer)],
    "doubled at once": lambda request, answer, old: [(0.0, answer + answer)],
    "doubled late": lambda request, answer, old: [(0.0, answer), (0.07, answer)],
    "foreign unit first": lambda request, answer, old: [
        (0.0, foreign(answer)),
        (0.01, answer),
    ],
    "previous answer": lambda request, answer, old: [(0.0, old or answer)],
    "previous and right one": lambda request, answer, old: [(0.0, old or b""), (0.01, answer)],
    "noise before": lambda request, answer, old: [(0.0, b"\x00\xff" + answer)],
    "cut": lambda request, answer, old: [(0.0, answer[: len(answer) // 2])],
    "none": lambda request, answer, old: [],
}


def foreign(answer: bytes) -> bytes:
    return b"\x07" + answer[1:-2] + get_crc(b"\x07" + answer[1:-2])


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_in_any_trouble_a_reported_value_is_right(
    bench, slave, eventually, monkeypatch, trouble: str
) -> None:
    """230 V as energy would be 230000 Wh, the length-2 registers are all different numbers."""
    monkeypatch.setattr(modbus_meter, "LONGEST_PERIOD_S", 0.05)
    slave.set_words(100, [0, 77], function=3)
    slave.set_float(200, 9113.0)
    answers: deque[bytes] = deque(maxlen=2)
    turn = 0

    def behave(request, answer):
        nonlocal turn
        turn += 1
        old = answers[0] if answers else b""
        answers.append(answer)
        return TROUBLES[trouble](request, answer, old) if turn % 4 else [(0.0, answer)]

    bench.start(model=TWO_BLOCKS, interval_s=0.02)
    await eventually(bench.seen)
    slave.behave = behave
    asked = len(slave.requests)
    await eventually(lambda: len(slave.requests) > asked + 24)
    slave.behave = slave.obey
    seen = len(bench.seen())
    await eventually(lambda: len(bench.seen()) > seen)
    assert {reading.energy_wh for reading in bench.seen()} == {1_234_500.0}
    assert {reading.voltage_v for reading in bench.seen()} == {(230.0,)}
    assert {reading.serial for reading in bench.seen()} == {"77"}


async def test_an_old_answer_to_the_same_block_is_not_reported_as_new(
    bench, slave, eventually
) -> None:
    """It stays in the meter past time-out and silence, and comes just before the next answer."""
    held_back: list[bytes] = []

    def behave(request, answer):
        if request.count == 76 and not held_back:
            held_back.append(answer)
            slave.set_float(72, 1234.51)
            return []
        if held_back and held_back[0]:
            old, held_back[0] = held_back[0], b""
            return [(0.0, old), (0.04, answer)]
        return [(0.0, answer)]

    bench.start()
    await eventually(bench.seen)
    slave.behave = behave
    await eventually(lambda: held_back)
    before = len(bench.seen())
    await eventually(lambda: len(bench.seen()) > before + 3)
    assert {reading.energy_wh for reading in bench.seen()[before:]} == {1_234_510.009766}


@pytest.mark.parametrize("wrong_kwh", [9113.0, 230.0])
async def test_a_counter_that_jumps_is_read_again_and_then_lost(
    bench, slave, eventually, wrong_kwh: float
) -> None:
    bench.start(interval_s=0.3)
    await eventually(bench.seen)
    slave.set_float(72, wrong_kwh)
    await eventually(lambda: bench.count(DeviceLost))
    lost = next(o for o in bench.observations if isinstance(o, DeviceLost))
    assert "the counter" in lost.reason
    assert "third such reading" in lost.reason
    slave.set_float(72, 1234.5)
    await eventually(lambda: bench.count(DeviceFound))
    assert {reading.energy_wh for reading in bench.seen()} == {1_234_500.0}


@pytest.mark.parametrize("new_kwh", [0.25, 9113.0])
async def test_a_meter_that_was_replaced_is_told_lost_and_then_believed(
    bench, slave, eventually, new_kwh: float
) -> None:
    bench.start(interval_s=0.02)
    await eventually(bench.seen)
    slave.set_float(72, new_kwh)
    await eventually(lambda: bench.count(DeviceFound))
    odd = [type(o) for o in bench.observations if not isinstance(o, MeterSeen)]
    assert odd == [DeviceLost, DeviceFound]
    assert bench.seen()[-1].energy_wh == pytest.approx(new_kwh * 1000)


async def test_odd_readings_that_contradict_one_another_are_never_believed(
    bench, slave, eventually
) -> None:
    bench.start(interval_s=0.02)
    await eventually(bench.seen)
    asked = len(slave.requests)

    def behave(request, answer):
        slave.set_float(72, 9000.0 - 100 * (len(slave.requests) - asked))
        return [(0.0, answer)]

    slave.behave = behave
    await eventually(lambda: len(slave.requests) > asked + 12)
    assert bench.count(DeviceLost) == 1
    assert {reading.energy_wh for reading in bench.seen()} == {1_234_500.0}


async def test_a_single_wrong_value_is_only_read_again(bench, slave, eventually) -> None:
    wrong_once = [True]

    def behave(request, answer):
        if wrong_once and request.count == 76 and bench.seen():
            wrong_once.clear()
            body = answer[:3] + answer[3 : 3 + 144] + struct.pack(">f", 9113.0) + answer[151:-2]
            return [(0.0, body + get_crc(body))]
        return [(0.0, answer)]

    slave.behave = behave
    meter = bench.start(interval_s=3600.0)
    await eventually(bench.seen)
    meter.read_soon()
    await eventually(lambda: len(bench.seen()) == 2)
    assert not wrong_once
    assert {reading.energy_wh for reading in bench.seen()} == {1_234_500.0}
    assert bench.count(DeviceLost) == 0


async def test_another_meter_with_another_serial_number_starts_anew(
    bench, slave, eventually
) -> None:
    slave.set_words(0xFC00, [0, 1], function=3)
    bench.start()
    await eventually(bench.seen)
    slave.units = set()
    await eventually(lambda: bench.count(DeviceLost))
    slave.set_float(72, 3.0)
    slave.set_words(0xFC00, [0, 2], function=3)
    slave.units = {1}
    await eventually(lambda: bench.count(DeviceFound))
    assert (bench.seen()[-1].serial, bench.seen()[-1].energy_wh) == ("2", 3000.0)


async def test_not_a_number_is_no_energy(bench, slave, eventually) -> None:
    slave.set_float(72, float("nan"))
    bench.start()
    await eventually(lambda: bench.count(DeviceLost))
    assert not bench.seen()


async def test_refused_optional_registers_are_asked_for_twice_and_then_never_again(
    bench, slave, eventually
) -> None:
    slave.behave = lambda request, answer: [(0.0, REFUSAL if request.address == 200 else answer)]
    bench.start(model=TWO_BLOCKS)
    await eventually(lambda: len(bench.seen()) > 5)
    assert sum(request.address == 200 for request in slave.requests) == 2
    assert bench.count(DeviceLost) == 0


async def test_a_meter_without_a_serial_number_register_is_read_all_the_same(
    bench, slave, eventually
) -> None:
    refusal = b"\x01\x83\x02" + get_crc(b"\x01\x83\x02")
    slave.behave = lambda request, answer: [(0.0, refusal if request.function == 3 else answer)]
    bench.start()
    await eventually(bench.seen)
    assert bench.seen()[0].serial == ""


async def test_a_pulled_adapter_is_a_lost_meter(bench, far_end, eventually) -> None:
    bench.start()
    await eventually(bench.seen)
    far_end.hang_up()
    await eventually(lambda: bench.count(DeviceLost))


async def test_the_last_meter_to_stop_gives_the_port_back(bench, far_end, eventually) -> None:
    bench.start()
    await eventually(bench.seen)
    task = bench.tasks.pop()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = ModbusLine("again", SerialLine(port=far_end.path))
    with again.held():
        with contextlib.suppress(ProtocolError):  # the answer to what the meter asked last
            await again.read(1, 4, 0, 1)
        assert await again.read(1, 4, 0, 1) == [0x4366]


@pytest.mark.parametrize("is_asked", [False, True])
async def test_what_flows_back_costs_a_request_only_where_it_is_asked_for(
    slave, first_report, is_asked: bool
) -> None:
    slave.set_float(72, 1234.5)
    slave.set_float(74, 2.5)
    options = ModbusMeterOptions(line="bus", model="carlo_gavazzi_em580", with_export=is_asked)
    (seen,) = await first_report(options)
    assert seen.reading.export_wh == (0.0 if is_asked else None)
    asked = {request.address for request in slave.requests}
    assert any(1280 < address <= 0x051C for address in asked) is is_asked
    (seen,) = await first_report(ModbusMeterOptions(line="bus", model="eastron_sdm630_v2"))
    assert seen.reading.export_wh == 2500.0
