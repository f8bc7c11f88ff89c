import asyncio
import itertools
import logging
import re

import pytest

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    OpenEvseOptions,
    PilotSeen,
    PilotState,
    PowerPath,
)
from drivers.pilots import rapi_link
from drivers.pilots.openevse import OpenEvse


def framed(text: str) -> bytes:
    total = 0
    for byte in text.encode():
        total ^= byte
    return f"{text}^{total:02X}\r".encode()


def orders(commands: list[str]) -> list[str]:
    """What was ordered, each once: on a busy machine an order may be repeated before its view."""
    asked = ("GS", "GC", "SY", "GP", "GF")
    return [word for word, _ in itertools.groupby(c for c in commands if c not in asked)]


class Controller:
    """A small OpenEVSE: the commands the driver needs, enabled after a restart as the real one."""

    def __init__(self, far_end) -> None:
        self._far_end = far_end
        self.state, self.pilot, self.flags, self.amps, self.ceiling_a = 0x01, 1, 0, 32, 32
        self.commands: list[str] = []
        self.deaf = False
        self.reply_delay_s = 0.0
        self.mangle = lambda reply: reply
        self.in_flight = 0
        self.most_in_flight = 0
        self.heartbeat: tuple[int, int, int] = (0, 0, 0)
        self._buffer = b""
        far_end.on_bytes = self._heard

    def plug(self, pilot: int) -> None:
        """The EV's side: 1 gone, 2 there, 3 wants power."""
        self.pilot = pilot
        self._settle()
        self.tell()

    def _settle(self) -> None:
        if self.state in (0x01, 0x02, 0x03):
            self.state = self.pilot
        closed = self.state == 0x03
        self.flags = (0x0040 if closed else 0) | (0x0100 if self.pilot > 1 else 0)

    def tell(self) -> None:
        words = f"$AT {self.state:02x} {self.pilot:02x} {self.amps} {self.flags:04x}"
        self.send(framed(words))

    def send(self, data: bytes) -> None:
        self._far_end.send(data)

    def restart(self) -> None:
        self.state, self.amps, self.heartbeat = self.pilot, self.ceiling_a, (0, 0, 0)
        self._settle()
        self.send(b"relayCloseMs: 100\r\n" + framed("$AB 00 8.2.3.EU"))

    def _heard(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\r")
        for line in lines:
            match = re.fullmatch(r"\$(.+) :([0-9A-F]{2})\^[0-9A-F]{2}", line.decode())
            assert match, f"the driver sent {line!r}"
            assert framed(line.decode().rpartition("^")[0]) == line + b"\r"
            self.commands.append(match[1])
            if self.deaf:
                continue
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            asyncio.get_running_loop().call_later(
                self.reply_delay_s, self._obey, match[1], match[2]
            )

    def _obey(self, command: str, sequence: str) -> None:
        self.in_flight -= 1
        good, words = True, command.split(" ")
        answer = ""
        if words[0] == "GS":
            answer = f" {self.state:02x} 0 {self.pilot:02x} {self.flags:04x}"
        elif words[0] == "GC":
            answer = f" 6 80 {self.amps} {self.ceiling_a}"
        elif words[0] == "SC":
            assert words[2:] == ["V"], "a current without V wears the EEPROM out"
            good = 6 <= int(words[1]) <= self.ceiling_a
            self.amps = max(6, min(int(words[1]), self.ceiling_a))
            answer = f" {self.amps}"
        elif words[0] in ("FS", "FD"):
            self.state = 0xFE if words[0] == "FS" else 0xFF
        elif words[0] == "FE":
            self.state = self.pilot if self.state in (0xFE, 0xFF) else self.state
        elif words[0] == "GF":
            answer = " 0 0 0"
        elif words[0] == "SY":
            if len(words) == 3:
                self.heartbeat = (int(words[1]), int(words[2]), 0)
            answer = " {} {} {}".format(*self.heartbeat)
        before = self.flags
        self._settle()
        reply = framed(f"${'OK' if good else 'NK'}{answer} :{sequence}")
        self.send(self.mangle(reply))
        if self.flags != before:
            self.tell()


class Bench:
    def __init__(self, far_end, eventually) -> None:
        self.controller = Controller(far_end)
        self.evse = OpenEvse("p", OpenEvseOptions(port=far_end.path, poll_s=0.05, fallback_a=10))
        self.observations: list[object] = []
        self.eventually = eventually
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.evse.run(self.observations.append))

    @property
    def reading(self):
        seen = [o.reading for o in self.observations if isinstance(o, PilotSeen)]
        return seen[-1] if seen else None

    async def shows(self, state: PilotState, path: PowerPath, offered_a: float | None) -> None:
        def agrees() -> bool:
            r = self.reading
            return r is not None and (r.state, r.power_path, r.offered_a) == (
                state,
                path,
                offered_a,
            )

        await self.eventually(agrees, f"{state} {path} {offered_a}, but {self.reading}")

    async def orders_begin(self, first: str, second: str, sent: int = 0) -> None:
        """These come first, the second soon: what is shown may be told before it was sent."""

        def begin() -> list[str]:
            return orders(self.controller.commands[sent:])[:2]

        await self.eventually(lambda: len(begin()) == 2)
        assert begin() == [first, second]

    async def polls(self, times: int = 2) -> None:
        """Waits for some more whole polls."""
        asked = self.controller.commands.count("GS")
        await self.eventually(lambda: self.controller.commands.count("GS") >= asked + times)

    def count(self, kind) -> int:
        return sum(isinstance(o, kind) for o in self.observations)


@pytest.fixture
async def bench(far_end, eventually):
    bench = Bench(far_end, eventually)
    yield bench
    if bench.task:
        assert not bench.task.done(), "the driver ended by itself"
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(rapi_link, "REPLY_TIMEOUT_S", 0.1)


async def test_the_first_word_to_an_enabled_controller_is_sleep(bench) -> None:
    bench.controller.plug(3)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    await bench.orders_begin("FS", "SY 20 10")


async def test_allowed_power_flows_in_c_with_the_current_set_before_enabling(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.plug(2)
    await bench.shows(PilotState.B, PowerPath.OPEN, 0.0)
    bench.evse.allow_power(16.9)
    await bench.shows(PilotState.B, PowerPath.OPEN, 16.0)
    bench.controller.plug(3)
    await bench.shows(PilotState.C, PowerPath.CLOSED, 16.0)
    assert bench.evse.power_path() is PowerPath.CLOSED
    commands = bench.controller.commands
    assert commands.index("SC 16 V") < commands.index("FE")
    bench.evse.allow_power(8)
    await bench.shows(PilotState.C, PowerPath.CLOSED, 8.0)
    assert bench.controller.heartbeat[:2] == (20, 8)
    bench.evse.stop()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    assert bench.controller.most_in_flight == 1


async def test_enabling_does_not_wait_for_the_next_poll(bench) -> None:
    bench.evse._poll_s = 3600.0
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.evse.allow_power(16)
    await bench.shows(PilotState.A, PowerPath.OPEN, 16.0)


async def test_less_than_six_ampere_is_a_stop(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(10)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 10.0)
    bench.evse.allow_power(5.9)
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    assert not [c for c in bench.controller.commands if c.startswith("SC 5")]


async def test_an_emergency_stop_disables_and_stays_until_the_next_order(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(10)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 10.0)
    bench.evse.emergency_stop()
    await bench.shows(PilotState.F, PowerPath.OPEN, 0.0)
    await bench.polls()
    assert bench.controller.state == 0xFF
    bench.evse.stop()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    assert bench.controller.state == 0xFE


async def test_a_stop_leaves_before_everything_that_waits(bench) -> None:
    bench.controller.plug(3)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    bench.controller.reply_delay_s = 0.1
    asked = len(bench.controller.commands)
    await bench.eventually(lambda: len(bench.controller.commands) > asked)
    in_flight = len(bench.controller.commands)
    bench.evse.allow_power(16)
    bench.evse.stop()
    await bench.eventually(lambda: len(bench.controller.commands) > in_flight)
    assert bench.controller.commands[in_flight] == "FS"
    bench.controller.reply_delay_s = 0.0
    await bench.polls()
    assert "FE" not in bench.controller.commands


async def test_a_stop_does_not_wait_out_the_timeout_of_a_lost_answer(bench, monkeypatch) -> None:
    monkeypatch.setattr(rapi_link, "REPLY_TIMEOUT_S", 3600.0)
    bench.controller.plug(3)
    bench.evse.allow_power(10)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 10.0)
    bench.controller.deaf = True
    asked = len(bench.controller.commands)
    await bench.eventually(lambda: len(bench.controller.commands) > asked)
    bench.controller.deaf = False
    bench.evse.emergency_stop()
    await bench.eventually(lambda: bench.controller.state == 0xFF)


async def test_a_stop_is_repeated_until_the_controller_shows_it(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.state = 0x01
    bench.controller.plug(3)
    await bench.eventually(lambda: bench.controller.state == 0xFE)
    bench.controller.flags |= 0x0040
    bench.controller._settle = lambda: None
    asked = bench.controller.commands.count("FS")
    await bench.eventually(lambda: bench.controller.commands.count("FS") >= asked + 3)


async def test_a_fault_is_reported_and_not_hidden_by_repeated_sleep(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.state = 0x06
    bench.controller.tell()
    await bench.eventually(lambda: bench.reading.faults == {"rcd"})
    asked = bench.controller.commands.count("FS")
    await bench.polls(4)
    assert bench.controller.commands.count("FS") == asked
    assert bench.reading.faults == {"rcd"}


async def test_a_restarted_controller_is_put_to_sleep_before_anything_else(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.pilot = 3
    sent = len(bench.controller.commands)
    bench.controller.restart()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    await bench.orders_begin("FS", "SY 20 10", sent=sent)


async def test_a_restart_while_allowed_gets_its_current_and_supervision_back(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(12)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 12.0)
    sent = len(bench.controller.commands)
    bench.controller.restart()
    await bench.eventually(lambda: bench.controller.heartbeat == (20, 10, 0))
    await bench.orders_begin("SC 12 V", "SY 20 10", sent=sent)
    assert bench.controller.amps == 12


async def test_a_restart_whose_message_was_lost_is_noticed_by_what_was_forgotten(
    bench, monkeypatch
) -> None:
    monkeypatch.setattr("drivers.pilots.openevse.PULSE_S", 0.1)
    bench.controller.plug(3)
    bench.evse.allow_power(12)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 12.0)
    bench.controller.amps, bench.controller.heartbeat = 32, (0, 0, 0)
    await bench.eventually(
        lambda: bench.controller.heartbeat == (20, 10, 0) and bench.controller.amps == 12
    )


async def test_a_current_changed_by_someone_else_is_set_back(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(12)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 12.0)
    bench.controller.amps = 20
    await bench.eventually(lambda: bench.controller.amps == 12)


async def test_a_lower_ceiling_of_the_controller_is_accepted_and_named_once(bench, caplog) -> None:
    caplog.set_level(logging.INFO)
    bench.controller.ceiling_a = bench.controller.amps = 20
    bench.controller.plug(3)
    bench.evse.allow_power(32)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 20.0)
    await bench.polls(4)
    assert bench.controller.commands.count("SC 32 V") == 1
    bench.evse.allow_power(24)
    await bench.eventually(lambda: "SC 24 V" in bench.controller.commands)
    await bench.polls(2)
    assert caplog.text.count("offers 20 A where 32 were allowed") == 1
    assert "where 24 were allowed" not in caplog.text


async def test_a_tripped_supervision_is_armed_again_and_the_current_restored(
    bench, monkeypatch
) -> None:
    monkeypatch.setattr("drivers.pilots.openevse.PULSE_S", 0.1)
    bench.controller.plug(3)
    bench.evse.allow_power(16)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 16.0)
    bench.controller.amps, bench.controller.heartbeat = 10, (20, 10, 2)
    await bench.eventually(
        lambda: bench.controller.heartbeat == (20, 10, 0) and bench.controller.amps == 16
    )


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda reply: b"", id="silence"),
        pytest.param(lambda reply: reply[:-2] + b"!\r", id="bad checksum"),
        pytest.param(lambda reply: reply[:5], id="half a line"),
        pytest.param(lambda reply: framed("$OK 03 0 03 0140 :00"), id="foreign sequence id"),
        pytest.param(lambda reply: b"\xff\x00" * 300, id="garbage"),
        pytest.param(lambda reply: framed("$OK"), id="no sequence id"),
    ],
)
async def test_a_controller_without_good_answers_is_lost_and_then_found(
    bench, impatient, mangle
) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.mangle = mangle
    await bench.eventually(lambda: bench.count(DeviceLost))
    assert bench.reading.state is PilotState.UNKNOWN
    assert bench.reading.power_path is PowerPath.UNKNOWN
    assert bench.evse.power_path() is PowerPath.UNKNOWN
    bench.controller.mangle = lambda reply: reply
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    assert (bench.count(DeviceLost), bench.count(DeviceFound)) == (1, 1)


async def test_two_lost_answers_in_a_row_are_no_loss_however_often(bench, impatient) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    answers = itertools.count()
    bench.controller.mangle = lambda reply: b"" if next(answers) % 3 else reply
    asked = len(bench.controller.commands)
    await bench.eventually(lambda: len(bench.controller.commands) > asked + 12)
    assert bench.count(DeviceLost) == 0


async def test_noise_and_half_lines_between_frames_do_no_harm(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.send(
        b"\xff$AT 03 03\r$OK 03\rrelayCloseMs: 1\n$AT zz 03 1 1^11\r" + b"x" * 999
    )
    bench.controller.send(b"\r" + framed("$AT 03 03") + framed("$WF 00") + framed("$AT x y z 1"))
    await bench.polls(4)
    assert {o.reading.state for o in bench.observations} == {PilotState.A}


async def test_a_view_without_news_becomes_unknown(bench, monkeypatch) -> None:
    monkeypatch.setattr(rapi_link, "REPLY_TIMEOUT_S", 3600.0)
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    assert bench.evse.power_path() is PowerPath.OPEN
    bench.controller.deaf = True
    await bench.eventually(lambda: bench.evse.power_path() is PowerPath.UNKNOWN)


@pytest.mark.parametrize("emergency", [False, True])
async def test_cancelling_puts_the_controller_to_sleep_but_never_undoes_an_emergency_stop(
    bench, emergency: bool
) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(16)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 16.0)
    if emergency:
        bench.evse.emergency_stop()
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)
    bench.task = None
    await bench.eventually(lambda: bench.controller.state == (0xFF if emergency else 0xFE))


async def test_a_pulled_plug_is_a_lost_device_at_once(bench, far_end) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    far_end.hang_up()
    await bench.eventually(lambda: bench.count(DeviceLost))
    assert bench.reading.power_path is PowerPath.UNKNOWN


async def test_a_missing_port_is_a_lost_device_and_an_order_tries_it_again(
    eventually, tmp_path, far_end
) -> None:
    observations: list[object] = []
    link = tmp_path / "evse"
    evse = OpenEvse("p", OpenEvseOptions(port=str(link)))
    task = asyncio.create_task(evse.run(observations.append))
    await eventually(lambda: any(isinstance(o, DeviceLost) for o in observations))
    assert str(link) in observations[-1].reason
    evse._pause_s = 3600.0
    evse.stop()
    await asyncio.sleep(0.1)
    link.symlink_to(far_end.path)
    controller = Controller(far_end)
    evse.stop()
    await eventually(lambda: controller.state == 0xFE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_orders_before_the_start_do_no_io() -> None:
    evse = OpenEvse("p", OpenEvseOptions(port="/dev/nothing_here"))
    evse.allow_power(16)
    evse.stop()
    evse.lock(True)
    assert evse.power_path() is PowerPath.UNKNOWN
    assert "10 A" not in evse.capabilities.host_loss_fallback
    assert "6 A" in evse.capabilities.host_loss_fallback


async def test_damaged_answers_silence_and_new_ports_are_counted(bench, impatient) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    counters = bench.evse.counters
    assert counters.requests >= 2
    assert counters.reconnects == 0
    assert (counters.unusable, counters.exceptions) == (0, 0)
    assert counters.latency_s is not None
    bench.controller.mangle = lambda reply: reply[:-2] + b"?\r"
    await bench.eventually(lambda: counters.unusable >= 1 and counters.timeouts >= 1)
    await bench.eventually(lambda: counters.reconnects >= 1, "the port opened anew")
