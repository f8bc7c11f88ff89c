"""The contactor device over mock lines and a controller that only speaks pilot, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from gpiozero.pins.mock import MockFactory

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    GpioContactorOptions,
    InputSeen,
    Observation,
    PilotCapabilities,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
    Report,
)
from drivers.gpio.closing import CLOSES_AFTER_S, UNDER_LOAD_S
from drivers.gpio.contactor import REOPEN_S, GpioContactor
from drivers.gpio.lines import Pins
from drivers.gpio_options import GpioInput, GpioLock, GpioOutput, GpioSwitch
from hil.parts.gpio_relay import Relay
from hil.virtual_time import run_virtual

COIL, AUX, COIL_2, AUX_2, RCD, LOCK, UNLOCK, BOLT, ALIVE = 17, 4, 22, 5, 6, 23, 24, 25, 26


def line(number: int) -> str:
    return f"GPIO{number}"


SWITCH = GpioSwitch(GpioOutput(line(COIL)), GpioInput(line(AUX)))
SECOND = GpioSwitch(GpioOutput(line(COIL_2)), GpioInput(line(AUX_2)))


class PilotOnly:
    """A controller without a contactor: reports `state` once a second and notes its orders."""

    name = "below"
    capabilities = PilotCapabilities(True, True, 3.0, 1.0, max_a=20.0)

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.state, self.faults = PilotState.B, frozenset[str]()
        self.offered_a = 0.0
        self.report: Report = lambda observation: None
        self.silent = False
        self.ended = False

    async def run(self, report: Report) -> None:
        self.report = report
        try:
            while True:
                self.tell()
                await asyncio.sleep(1.0)
        finally:
            self.ended = True

    def tell(self, state: str | None = None) -> None:
        self.state = PilotState(state) if state is not None else self.state
        if not self.silent:
            now_s = asyncio.get_running_loop().time()
            path = PowerPath.UNKNOWN
            reading = PilotReading(now_s, self.state, path, self.offered_a, self.faults)
            self.report(PilotSeen(self.name, reading))

    def allow_power(self, limit_a: float) -> None:
        self.offered_a = limit_a
        self.orders.append(f"allow {limit_a:g}")

    def stop(self) -> None:
        self.offered_a = 0.0
        self.orders.append("stop")

    def emergency_stop(self) -> None:
        self.offered_a = 0.0
        self.orders.append("emergency")

    def lock(self, locked: bool) -> None:
        self.orders.append(f"lock {locked}")

    def power_path(self) -> PowerPath:
        return PowerPath.UNKNOWN


class Rig:
    def __init__(self, **options: object) -> None:
        self.factory = MockFactory()
        self.relay = Relay(self.factory, COIL, AUX)
        self.relay_2 = Relay(self.factory, COIL_2, AUX_2)
        self.below = PilotOnly()
        self.seen: list[Observation] = []
        self.device = GpioContactor(
            "pilot1",
            GpioContactorOptions(controller="below", contactor=SWITCH, **options),  # type: ignore[arg-type]
            self.below,
            Pins(board=self.factory),
        )

    @property
    def last(self) -> PilotReading:
        return next(o.reading for o in reversed(self.seen) if isinstance(o, PilotSeen))

    @property
    def inputs(self) -> list[tuple[str, bool]]:
        return [(o.name, o.active) for o in self.seen if isinstance(o, InputSeen)]

    async def charge(self) -> None:
        self.device.allow_power(16.0)
        self.below.tell("C")
        await asyncio.sleep(2.0)
        assert self.relay.is_on
        assert self.last.power_path is PowerPath.CLOSED


def bench(scene: Callable[[Rig], Awaitable[None]], **options: object) -> Rig:
    """Runs the device, the scene, and then the device's end."""
    rig = Rig(**options)

    async def play() -> None:
        running = asyncio.create_task(rig.device.run(rig.seen.append))
        await asyncio.sleep(0.1)
        await scene(rig)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(play())
    return rig


def test_a_charge_from_plug_to_stop() -> None:
    async def scene(rig: Rig) -> None:
        assert not rig.relay.is_on
        assert rig.last.power_path is PowerPath.OPEN
        await rig.charge()
        rig.device.stop()
        await asyncio.sleep(1.0)
        assert rig.relay.is_on, "the EV is given time to let go"
        rig.below.tell("B")
        assert not rig.relay.is_on
        told_s = rig.last.at_s
        await asyncio.sleep(0.1)
        assert rig.last.power_path is PowerPath.OPEN
        assert rig.last.at_s > told_s, "when it was seen open, not when the pilot was read"

    rig = bench(scene)
    assert rig.below.orders == ["allow 16", "stop"]
    assert {o.device for o in rig.seen} == {"pilot1"}


def test_a_stop_that_the_ev_ignores_opens_under_load() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        at_s = asyncio.get_running_loop().time()
        rig.device.stop()
        await asyncio.sleep(10.0)
        opened_s, is_on = rig.relay.moves[-1]
        assert not is_on
        assert opened_s == pytest.approx(at_s + UNDER_LOAD_S)
        assert rig.device.capabilities.opens_within_s >= UNDER_LOAD_S + 0.5

    bench(scene)


def test_an_emergency_stop_opens_before_it_returns() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        rig.device.emergency_stop()
        assert not rig.relay.is_on
        assert rig.below.orders[-1] == "emergency"
        await asyncio.sleep(0.9)
        assert rig.below.orders[-1] == "emergency"
        await asyncio.sleep(0.5)
        assert rig.below.orders[-1] == "stop", "in F nobody sees the EV leave"
        await asyncio.sleep(60)
        assert rig.below.orders.count("stop") == 1
        assert not rig.relay.is_on

    bench(scene)


def test_an_rcd_edge_opens_in_the_callback_and_is_told_as_a_fault() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        rig.factory.pin(line(RCD)).drive_high()
        assert not rig.relay.is_on
        assert rig.last.faults == {"rcd"}

    bench(scene, rcd=GpioInput(line(RCD)))


def test_a_welded_contactor_is_told() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        rig.relay.weld()
        rig.below.tell("B")
        await asyncio.sleep(0.6)
        assert rig.last.faults == {"welded_contactor"}
        assert rig.last.power_path is PowerPath.CLOSED

    bench(scene)


def test_a_second_contactor_closes_after_the_first() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        assert rig.relay_2.is_on
        assert rig.relay_2.moves[0][0] > rig.relay.moves[0][0]
        rig.below.tell("A")
        assert not rig.relay.is_on
        assert not rig.relay_2.is_on

    bench(scene, second=SECOND)


def test_a_controller_that_falls_silent_or_is_lost_opens_the_contactor() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        rig.below.silent = True
        await asyncio.sleep(4.0)
        assert not rig.relay.is_on
        rig.below.silent = False
        await rig.charge()
        rig.below.report(DeviceLost("below", "no answer"))
        assert not rig.relay.is_on
        rig.below.report(DeviceFound("below"))
        lost = [o for o in rig.seen if isinstance(o, DeviceLost | DeviceFound)]
        assert lost == [DeviceLost("pilot1", "no answer"), DeviceFound("pilot1")]

    bench(scene)


def test_lines_that_are_gone_are_a_lost_device_and_come_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        aux = rig.factory.pin(line(AUX))

        def gone() -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(aux, "_get_state", gone)
            await asyncio.sleep(0.5)
        assert not rig.relay.is_on
        assert rig.device.power_path() is PowerPath.UNKNOWN
        (lost,) = [o for o in rig.seen if isinstance(o, DeviceLost)]
        assert "expander" in lost.reason
        told = len(rig.seen)
        rig.below.tell()
        assert len(rig.seen) == told, "a view without its contactor is none"
        opened_s = rig.relay.moves[-1][0]
        await asyncio.sleep(5.0)
        assert rig.seen.count(DeviceFound("pilot1")) == 1
        closed_s, is_on = rig.relay.moves[-1]
        assert is_on, "the order still stands here; the guard would have stopped it"
        assert closed_s >= opened_s + REOPEN_S + CLOSES_AFTER_S, "as if the EV asked anew"

    bench(scene)


def test_the_end_leaves_the_coils_off_and_the_controller_ended() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()

    rig = bench(scene, second=SECOND, alive=GpioOutput(line(ALIVE)))
    assert rig.relay.moves[-1][1] is False
    assert rig.relay_2.moves[-1][1] is False
    assert rig.below.ended


def test_the_alive_line_toggles_twice_a_second() -> None:
    async def scene(rig: Rig) -> None:
        pin = rig.factory.pin(line(ALIVE))
        pin.clear_states()
        await asyncio.sleep(10.0)
        assert 38 <= len(pin.states) - 1 <= 41

    bench(scene, alive=GpioOutput(line(ALIVE)))


def test_the_lock_of_its_own_is_moved_and_told() -> None:
    lock = GpioLock(GpioOutput(line(LOCK)), GpioOutput(line(UNLOCK)), GpioInput(line(BOLT)))

    async def scene(rig: Rig) -> None:
        assert rig.inputs == [("plug_lock", False)]
        rig.device.lock(True)
        assert rig.factory.pin(line(LOCK)).state
        rig.factory.pin(line(BOLT)).drive_high()
        await asyncio.sleep(2.0)
        assert rig.inputs == [("plug_lock", False), ("plug_lock", True)]
        await rig.charge()
        rig.device.lock(False)
        await asyncio.sleep(2.0)
        assert not rig.factory.pin(line(UNLOCK)).state, "never under voltage"
        rig.below.tell("B")
        await asyncio.sleep(0.1)
        assert rig.factory.pin(line(UNLOCK)).state

    rig = bench(scene, lock=lock)
    assert rig.device.capabilities.has_lock
    assert not [order for order in rig.below.orders if order.startswith("lock")]


def test_an_order_to_the_lock_is_answered_though_nothing_moves() -> None:
    """A lock that stands open already, then one that does not close."""
    lock = GpioLock(GpioOutput(line(LOCK)), GpioOutput(line(UNLOCK)), GpioInput(line(BOLT)))

    async def scene(rig: Rig) -> None:
        for orders, wanted in enumerate((False, False, True), 1):
            rig.device.lock(wanted)
            await asyncio.sleep(10.0)
            assert rig.inputs == [("plug_lock", False)] * (1 + orders)

    bench(scene, lock=lock)


def test_without_a_lock_of_its_own_the_controller_locks() -> None:
    async def scene(rig: Rig) -> None:
        rig.device.lock(True)
        rig.below.report(InputSeen("below", "plug_lock", True, 1.0))
        assert rig.inputs == [("plug_lock", True)]

    assert bench(scene).below.orders == ["lock True"]


def test_less_than_the_controller_can_signal_is_a_stop() -> None:
    async def scene(rig: Rig) -> None:
        await rig.charge()
        rig.device.allow_power(4.0)
        await asyncio.sleep(UNDER_LOAD_S + 0.1)
        assert not rig.relay.is_on

    bench(scene)
