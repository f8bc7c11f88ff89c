import asyncio

import pytest
from umodbus.client.serial.redundancy_check import get_crc

from drivers.bus.modbus_line import ModbusLine, Refused, silence_s
from drivers.contract import NoAnswer, PortError, ProtocolError, SerialLine

TIMEOUT_S = 0.15


def crc(body: bytes) -> bytes:
    return body + get_crc(body)


@pytest.fixture
def line(far_end):
    line = ModbusLine("bus", SerialLine(port=far_end.path, baud=19200, parity="E"))
    with line.held():
        yield line


@pytest.mark.parametrize(
    ("baud", "parity", "least_s"), [(9600, "N", 0.0040), (2400, "E", 0.016), (115200, "E", 0.00175)]
)
def test_the_silence_between_frames_is_three_and_a_half_characters(
    baud: int, parity: str, least_s: float
) -> None:
    assert silence_s(SerialLine(port="x", baud=baud, parity=parity)) == pytest.approx(
        least_s, rel=0.01
    )


async def test_holding_and_input_registers_are_different_tables(line, slave) -> None:
    slave.set_words(5, [1, 2, 3])
    slave.set_words(5, [7, 8, 9], function=3)
    assert await line.read(1, 4, 5, 3) == [1, 2, 3]
    assert await line.read(1, 3, 5, 3) == [7, 8, 9]


async def test_requests_of_several_devices_never_overlap(line, slave) -> None:
    busy = 0

    def slowly(request, answer):
        nonlocal busy
        busy += 1
        assert busy == 1, "a request was sent while another one was under way"

        def done() -> None:
            nonlocal busy
            busy -= 1

        asyncio.get_running_loop().call_later(0.019, done)
        return [(0.02, answer)]

    slave.units, slave.behave = {1, 2, 3}, slowly
    slave.set_words(0, [4, 5, 6])
    found = await asyncio.gather(*(line.read(unit, 4, 0, 3) for unit in (1, 2, 3, 1)))
    assert found == [[4, 5, 6]] * 4


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda answer: b"", id="silence"),
        pytest.param(lambda answer: answer[:-3], id="cut off"),
        pytest.param(lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]), id="bad checksum"),
        pytest.param(lambda answer: bytes(range(200)), id="garbage"),
        pytest.param(lambda answer: crc(b"\x02" + answer[1:-2]), id="foreign unit"),
        pytest.param(lambda answer: crc(b"\x01\x03" + answer[2:-2]), id="other function"),
        pytest.param(lambda answer: crc(b"\x01\x04\x02" + answer[3:5]), id="too short"),
        pytest.param(lambda answer: crc(b"\x01\x04\x08" + answer[3:-2] + b"\0\0"), id="too long"),
    ],
)
async def test_an_answer_that_does_not_fit_is_an_error_and_the_line_recovers(
    line, slave, spoil
) -> None:
    slave.set_words(0, [4, 5, 6])
    assert await line.read(1, 4, 0, 3) == [4, 5, 6]
    slave.behave = lambda request, answer: [(0.0, spoil(answer))]
    before = line.doubts(1)
    with pytest.raises((NoAnswer, ProtocolError)):
        await line.read(1, 4, 0, 3, TIMEOUT_S)
    assert line.doubts(1) > before
    slave.behave = slave.obey
    assert await line.read(1, 4, 0, 3, 2.0) == [4, 5, 6]


async def test_a_late_answer_is_never_taken_for_the_next_one(line, slave) -> None:
    slave.set_words(0, [230])
    slave.set_words(100, [1100])
    slave.behave = lambda request, answer: [(TIMEOUT_S * 1.5, answer)]
    with pytest.raises(NoAnswer):
        await line.read(1, 4, 0, 1, TIMEOUT_S)
    slave.behave = lambda request, answer: [(TIMEOUT_S, answer)]
    assert await line.read(1, 4, 100, 1, 2.0) == [1100]


async def test_a_doubled_answer_raises_doubt_but_is_right(line, slave) -> None:
    slave.set_words(0, [4, 5, 6])
    slave.behave = lambda request, answer: [(0.0, answer), (0.03, answer)]
    assert await line.read(1, 4, 0, 3) == [4, 5, 6]
    before = line.doubts(1)
    await asyncio.sleep(0.06)
    slave.behave = slave.obey
    slave.set_words(0, [7, 8, 9])
    assert await line.read(1, 4, 0, 3) == [7, 8, 9]
    assert line.doubts(1) > before


async def test_a_refusal_tells_the_code_and_costs_no_silence(line, slave) -> None:
    slave.behave = lambda request, answer: [(0.0, crc(b"\x01\x84\x02"))]
    before = line.doubts(1)
    with pytest.raises(Refused, match="exception code 2"):
        await line.read(1, 4, 0, 3)
    assert line.doubts(1) <= before + 1


async def test_cancelling_a_read_counts_as_a_failure_and_the_next_read_is_right(
    line, slave, eventually
) -> None:
    slave.set_words(0, [4, 5, 6])
    slave.behave = lambda request, answer: [(0.1, answer)]
    reading = asyncio.create_task(line.read(1, 4, 0, 3, TIMEOUT_S))
    await eventually(lambda: slave.requests)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    slave.behave = slave.obey
    slave.set_words(0, [7, 8, 9])
    assert await line.read(1, 4, 0, 3, 2.0) == [7, 8, 9]


async def test_cancelling_at_the_very_moment_of_the_answer_still_cancels(
    slave, far_end, eventually, monkeypatch
) -> None:
    watch = ModbusLine._watch

    def cancelling(line: ModbusLine, sending: bool, data: bytes) -> bytes:
        if not sending:
            reading.cancel()
        return watch(line, sending, data)

    monkeypatch.setattr(ModbusLine, "_watch", cancelling)
    line = ModbusLine("bus", SerialLine(port=far_end.path))
    with line.held():
        reading = asyncio.create_task(line.read(1, 4, 0, 3))
        await eventually(reading.done)
    assert reading.cancelled()


async def test_a_missing_port_is_a_port_error_that_is_not_tried_at_every_read() -> None:
    line = ModbusLine("bus", SerialLine(port="/dev/nothing_here"))
    with pytest.raises(PortError, match="no such port"):
        await line.read(1, 4, 0, 1)
    next_try_s = line._open_at_s
    with pytest.raises(PortError, match="no such port"):
        await line.read(1, 4, 0, 1)
    assert line._open_at_s == next_try_s


async def test_a_pulled_adapter_is_a_port_error(line, slave, far_end) -> None:
    assert await line.read(1, 4, 0, 1) == [0]
    far_end.hang_up()
    with pytest.raises(PortError, match="port lost"):
        await line.read(1, 4, 0, 1, TIMEOUT_S)


async def test_what_goes_wrong_with_a_unit_is_counted_by_its_kind(line, slave) -> None:
    slave.set_words(0, [4, 5, 6])
    await line.read(1, 4, 0, 3)
    counters = line.counters(1)
    assert (counters.requests, counters.opens, counters.reconnects) == (1, 1, 0)
    assert counters.latency_s is not None
    assert 0 < counters.latency_s <= counters.slowest_s
    slave.behave = lambda request, answer: [(0.0, crc(b"\x01\x84\x02"))]
    with pytest.raises(Refused):
        await line.read(1, 4, 90, 3)
    slave.behave = lambda request, answer: []
    with pytest.raises(NoAnswer):
        await line.read(1, 4, 0, 3, TIMEOUT_S)
    slave.behave = lambda request, answer: [(0.0, answer[:-1] + b"?")]
    for unit in (1, 2):
        slave.units.add(2)
        with pytest.raises((NoAnswer, ProtocolError)):
            await line.read(unit, 4, 0, 3, TIMEOUT_S)
    found = (counters.timeouts, counters.unusable, counters.exceptions)
    assert (counters.requests, *found) == (4, 1, 1, 1)
    other = line.counters(2)
    assert (other.requests, other.timeouts, other.unusable, other.opens) == (1, 0, 1, 1)
