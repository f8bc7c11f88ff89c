"""Devices that answer nonsense: what a driver reports is the right value or an error, the driver
lives, and once there is peace it reports again. Virtual time; bytes cross real pseudo-terminals and
sockets.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pymodbus.client  # noqa: F401  (lines load it in a thread, which virtual time does not see)
from msgspec import Struct

from drivers.contract import (
    CardSeen,
    KeyboardReaderOptions,
    MeterSeen,
    Observation,
    PilotSeen,
)
from drivers.registry import Registry
from hil import fuzz_devices
from hil.fuzz_devices import CARD, Line, Port, Rig, signing_meter, unprintable
from hil.fuzz_edges import chattering
from hil.fuzz_lines import (
    ON_TCP,
    SPOILS,
    UNCHECKED,
    WEAKLY_CHECKED,
    Spoil,
    cut,
    doubled,
    flipped,
    misread,
    silence,
)
from hil.fuzz_station import Failing
from hil.parts.bytes_under_way import BytesUnderWay
from hil.parts.keyboard import TypingReader, event
from hil.parts.pty_port import PtyPort
from hil.parts.signing_meters import BauerBsm, GavazziEm580, IskraWm3
from hil.parts.tcp_port import MbapPort, TcpPort
from hil.virtual_time import VirtualTimeLoop

LOOPBACK_S = 0.002
"""Real time that sockets get to pass bytes on."""
LIMIT_S = 20_000
ENOUGH = 30
"""Spoiled frames until there is peace."""


class Heard(Struct):
    """What came of the nonsense of one device."""

    device: str
    spoiled: int = 0
    right: int = 0
    """Values reported meanwhile."""
    longest_turn_s: float = 0.0
    """Of the loop, in real time: so long anything else, the guard too, would have waited."""

    def line(self) -> str:
        return (
            f"{self.device}: {self.spoiled} spoiled, {self.right} values, all right; "
            f"longest turn of the loop {self.longest_turn_s * 1000:.0f} ms"
        )


# --- how they are played --------------------------------------------------------------------------


async def on_a_line(
    heard: Heard, seed: int, port: Port, build: Callable[[Line], Rig], spoils: Sequence[Spoil]
) -> None:
    """Peace, nonsense until there was enough of it, peace until a good report comes. How long that
    takes depends on how soon this machine passes bytes on, so all wait for what is to happen."""
    opening = port.open()
    if opening is not None:
        await opening
    line = Line(seed, port)
    rig = build(line)
    calm, wrong = [0], [""]

    def report(seen: Observation) -> None:
        wrong[0] = wrong[0] or rig.wrong(seen)
        heard.right += isinstance(seen, MeterSeen | PilotSeen | CardSeen)
        calm[0] += not line.spoils and rig.is_good(seen)

    task = asyncio.create_task(rig.run(report))
    try:
        for name, these, is_over in (
            ("a good report", (), lambda: calm[0] > 0),
            ("nonsense", spoils, lambda: line.spoiled >= heard.spoiled),
            ("a good report after it", (), lambda: calm[0] > 0),
        ):
            line.spoils, calm[0] = these, 0
            await _until(is_over, name, rig, task, wrong)
    finally:
        heard.spoiled = line.spoiled
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rig.stop()
        port.unplug()


async def _until(
    is_over: Callable[[], bool], name: str, rig: Rig, task: "asyncio.Task[None]", wrong: list[str]
) -> None:
    for _ in range(LIMIT_S):
        await asyncio.sleep(1)
        rig.step()
        if wrong[0]:
            raise Failing(f"a wrong value was reported: {wrong[0]}")
        if task.done():
            raise Failing(f"the driver ended: {task.exception()!r}") from task.exception()
        if is_over():
            return
    raise Failing(f"no {name} in {LIMIT_S} s")


def _on(
    port: type[PtyPort] | type[TcpPort],
    build: Callable[[Line], Rig],
    spoils: Sequence[Spoil],
) -> "Play":
    def play(heard: Heard, seed: int, only: Sequence[Spoil]) -> Awaitable[None]:
        return on_a_line(heard, seed, port(), build, only or spoils)

    return play


async def typing(heard: Heard, seed: int, only: Sequence[Spoil]) -> None:
    """A reader that types, among key events that mean nothing; the kernel cuts none of them."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        part = TypingReader(f"{folder}/event-kbd")
        part.plug()
        driver: Any = Registry({}).build("device", KeyboardReaderOptions(port=part.path))
        seen: list[Observation] = []
        task = asyncio.create_task(driver.run(seen.append))
        for _ in range(heard.spoiled):
            for _ in range(dice.randint(1, 20)):
                part.write(event(dice.choice((0, 1, 1, 4)), dice.randrange(256), dice.randrange(3)))
            part.swipe(CARD)
            await asyncio.sleep(2)
        part.write(event(1, 28, 1))
        seen_before = len(seen)
        part.swipe(CARD)
        await asyncio.sleep(2)
        ended, task_error = task.done(), task.exception() if task.done() else None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        part.unplug()
    heard.right += len(seen)
    wrong = [text for text in map(unprintable, seen) if text]
    if wrong or ended or CARD not in [getattr(s, "uid", "") for s in seen[seen_before:]]:
        raise Failing(f"{wrong or 'the card after it was not seen'}; ended: {task_error!r}")


async def edges(heard: Heard, seed: int, only: Sequence[Spoil]) -> None:
    heard.right += await chattering(random.Random(seed), heard.spoiled)


Play = Callable[[Heard, int, Sequence[Spoil]], Awaitable[None]]
MODBUS = {
    "evse_wb": fuzz_devices.evse_wb,
    "phoenix": fuzz_devices.phoenix,
    "meter": fuzz_devices.meter,
}
SIGNING = {
    "bauer_bsm_ws36a": BauerBsm,
    "iskra_wm3m4c": IskraWm3,
    "carlo_gavazzi_em580": GavazziEm580,
}
DEVICES: dict[str, Play] = {
    **{f"{name} on a line": _on(PtyPort, build, SPOILS) for name, build in MODBUS.items()},
    **{f"{name} by rtu-tcp": _on(TcpPort, build, SPOILS) for name, build in MODBUS.items()},
    **{f"{name} by tcp": _on(MbapPort, build, ON_TCP) for name, build in MODBUS.items()},
    **{name: _on(PtyPort, signing_meter(name, of), SPOILS) for name, of in SIGNING.items()},
    "openevse": _on(PtyPort, fuzz_devices.openevse, (*WEAKLY_CHECKED, misread)),
    "openevse that measures": _on(
        PtyPort, fuzz_devices.openevse_meter, (misread, doubled, cut, silence)
    ),
    "openevse that counts": _on(
        PtyPort, fuzz_devices.openevse_counter, (flipped, misread, doubled)
    ),
    "line reader": _on(PtyPort, fuzz_devices.line_reader, UNCHECKED),
    "rdm6300": _on(PtyPort, fuzz_devices.rdm6300, WEAKLY_CHECKED),
    "pn532": _on(PtyPort, fuzz_devices.pn532, WEAKLY_CHECKED),
    "keyboard": typing,
    "gpio edges": edges,
}


def play(device: str, seed: int, *only: Spoil, enough: int = ENOUGH) -> Heard:
    """Nonsense for one device, of these kinds or all that it must stand. Raises Failing."""
    heard = Heard(device, enough)
    with BytesUnderWay() as under_way:
        is_socket = " by " in device

        def grace_s() -> float:
            return LOOPBACK_S if is_socket else under_way.grace_s()

        with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(0.0, grace_s)) as runner:
            _time_turns(runner.get_loop(), heard)
            try:
                runner.run(_awaited(DEVICES[device](heard, seed, only)))
            except Failing as found:
                raise Failing(f"{device}, seed {seed}: {found}") from found
    return heard


async def _awaited(done: Awaitable[None]) -> None:
    await done


def _time_turns(loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
    """Notes the longest that the loop was away from its files."""
    selector: Any = loop._selector  # type: ignore[attr-defined]
    select, back_s = selector.select, [time.perf_counter()]

    def timed(timeout: float | None = None) -> Any:
        heard.longest_turn_s = max(heard.longest_turn_s, time.perf_counter() - back_s[0])
        ready = select(timeout)
        back_s[0] = time.perf_counter()
        return ready

    selector.select = timed
