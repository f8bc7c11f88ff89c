import asyncio

import pytest
from umodbus.client.serial.redundancy_check import get_crc

from drivers.bus.modbus_line import ModbusLine, Refused
from drivers.bus.modbus_request import (
    READ_COILS,
    READ_HOLDING,
    WRITE_COIL,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    Request,
)
from drivers.bus.turns import Rank
from drivers.contract import NoAnswer, ProtocolError, SerialLine

TIMEOUT_S = 0.15
SET_16 = Request(1, WRITE_REGISTER, 1000, values=(16,))


def crc(body: str) -> bytes:
    data = bytes.fromhex(body)
    return data + get_crc(data)


class Scripted:
    """Answers each request with the next of `answers` (after so many seconds), and notes it."""

    def __init__(self, far_end) -> None:
        self._far_end = far_end
        self.answers: list[tuple[float, str]] = []
        self.requests: list[str] = []
        far_end.on_bytes = self._heard

    def _heard(self, data: bytes) -> None:
        assert get_crc(data[:-2]) == data[-2:], "a damaged or torn request"
        self.requests.append(data[:-2].hex())
        if self.answers:
            delay_s, answer = self.answers.pop(0)
            loop = asyncio.get_running_loop()
            loop.call_later(delay_s, self._far_end.send, crc(answer) if answer else b"")


@pytest.fixture
async def device(far_end) -> Scripted:
    return Scripted(far_end)


@pytest.fixture
def line(far_end):
    line = ModbusLine("bus", SerialLine(port=far_end.path, baud=19200))
    with line.held():
        yield line


@pytest.mark.parametrize(
    ("request_", "sent", "answer", "result"),
    [
        (SET_16, "010603e80010", "010603e80010", [16]),
        (
            Request(1, WRITE_REGISTERS, 1000, values=(16, 1)),
            "011003e800020400100001",
            "011003e80002",
            [16, 1],
        ),
        (Request(1, WRITE_COIL, 20000, values=(1,)), "01054e20ff00", "01054e20ff00", [1]),
        (Request(1, WRITE_COIL, 20000, values=(0,)), "01054e200000", "01054e200000", [0]),
        (Request(1, READ_COILS, 20000, 3), "01014e200003", "010105", None),
    ],
)
async def test_requests_and_answers_on_the_wire(
    line, device, request_, sent, answer, result
) -> None:
    if request_.function == READ_COILS:
        answer, result = "01010105", [1, 0, 1]
    device.answers = [(0.0, answer)]
    before = line.doubts(1)
    assert await line.ask(request_) == result
    assert device.requests == [sent]
    assert line.doubts(1) == before + 1, "only the opening of the port leaves a doubt"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("010603e80020", id="another value"),
        pytest.param("010603e90010", id="another register"),
        pytest.param("011003e80001", id="another function"),
        pytest.param("020603e80010", id="another unit"),
        pytest.param("0103020010", id="an answer to a read"),
        pytest.param("018302", id="a refusal of another function"),
        pytest.param("", id="silence"),
    ],
)
async def test_a_write_counts_only_when_its_own_echo_comes(line, device, answer: str) -> None:
    device.answers = [(0.0, answer)]
    before = line.doubts(1)
    with pytest.raises((NoAnswer, ProtocolError)) as caught:
        await line.ask(SET_16, TIMEOUT_S)
    assert not isinstance(caught.value, Refused)
    assert line.doubts(1) > before


async def test_a_refused_write_says_so(line, device) -> None:
    device.answers = [(0.0, "018602")]
    with pytest.raises(Refused, match="exception code 2"):
        await line.ask(SET_16)


async def test_a_late_echo_is_not_taken_for_that_of_the_next_write(line, device) -> None:
    device.answers = [(2 * TIMEOUT_S, "010603e80010"), (0.0, "")]
    with pytest.raises(NoAnswer):
        await line.ask(SET_16, TIMEOUT_S)
    with pytest.raises(ProtocolError, match="another request"):
        await line.ask(Request(1, WRITE_REGISTER, 1000, values=(0,)), 2.0, rank=Rank.ORDER)


async def test_a_stop_does_not_keep_the_pause_after_a_failure(line, device) -> None:
    line._free_at_s = asyncio.get_running_loop().time() + 3600
    device.answers = [(0.0, "010603e80000")]
    stop = Request(1, WRITE_REGISTER, 1000, values=(0,))
    async with asyncio.timeout(60):
        assert await line.ask(stop, rank=Rank.ORDER) == [0]


async def test_a_stop_goes_before_the_reads_that_wait(line, device) -> None:
    device.answers = [(0.0, ""), (0.0, "010603e80000"), (0.0, "0103020007")]
    reads = [
        asyncio.create_task(line.ask(Request(1, READ_HOLDING, 7), TIMEOUT_S)) for _ in range(2)
    ]
    await asyncio.sleep(0)
    stop = Request(1, WRITE_REGISTER, 1000, values=(0,))
    assert await line.ask(stop, 30.0, rank=Rank.ORDER) == [0]
    failed, read = await asyncio.gather(*reads, return_exceptions=True)
    assert isinstance(failed, NoAnswer)
    assert read == [7]
    assert [request[2:4] for request in device.requests] == ["03", "06", "03"]
