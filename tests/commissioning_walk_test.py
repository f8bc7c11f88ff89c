"""config/COMMISSIONING.md, walked: each of its commands, as it stands there, is given at the desk,
and what the page says is seen, is seen."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Literal

import pytest

from agent.cli import VERBS
from drivers.sim.connector import Ev
from hil.desk import CONNECTOR_ID, EVSE_IDS, DeskBench
from hil.desk_file import EMERGENCY_STOP
from tests.commissioning_test import CARD, PAGE, said, started

PLACE = (1, CONNECTOR_ID)
SECTIONS = {
    int(number): text
    for number, text in re.findall(
        r"^## (\d)\. .*?\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S
    )
}
COMMAND = re.compile(r"(?:chargepoint|systemctl) [^`\n]+")
LEFT_TO_THE_INSTALLER = {"systemctl enable chargepoint"}
INSTEAD = {"ok": "0 mistakes, 1 warning", "?": "nothing looks wrong"}
"""`ok`, or warnings only: the desk's link to the CSMS is plain. `?` marks what a meter's file is
not sure of, and that of the desk's meters is."""
KEYS_OF_THE_FILE = ("silent_s",)
"""Named where a local energy manager limits the charger, which the desk has not."""
TESTER_A = 16.0


def commands_of(section: int) -> set[str]:
    """Every command that the section gives, in a block or in the text."""
    blocks = re.findall(r"^ {4,}(\S.*)$", SECTIONS[section], re.M)
    spans = re.findall(r"`([^`]+)`", " ".join(SECTIONS[section].split()))
    return {words for words in (*blocks, *spans) if COMMAND.fullmatch(words)}


def seen_of(section: int) -> list[str]:
    """What the section says is seen, word for word, but for commands."""
    text = " ".join(SECTIONS[section].split())
    told = re.findall(r"\*\*Seen\*\*:(.*?)(?=\*\*If|\*\*Seen|$)", text)
    spans = [span for one in told for span in re.findall(r"`([^`]+)`", one)]
    names = [*VERBS, *KEYS_OF_THE_FILE]
    return [span for span in spans if not COMMAND.fullmatch(span) and span not in names]


class Walk:
    """Somebody with a tester, at the desk bench; each command is checked off in the page."""

    def __init__(self, bench: DeskBench, board: Path) -> None:
        self.bench = bench
        self.said: dict[int, str] = dict.fromkeys(SECTIONS, "")
        self.left = {(number, line) for number in SECTIONS for line in commands_of(number)}
        self._board = board
        self._table: asyncio.subprocess.Process | None = None

    async def do(self, section: int, line: str) -> tuple[int, str]:
        """A command of the page: its exit status and output, white space as single blanks."""
        self.check_off(section, line)
        at_board = ["--root", str(self._board)] if " doctor " in line else []
        code, out = await said(self.bench, line, *at_board)
        self.said[section] += " ".join(out.split()) + "\n"
        return code, out

    def check_off(self, section: int, line: str) -> None:
        assert line in commands_of(section), f"step {section} does not say {line}"
        self.left.discard((section, line))

    async def watch(self, section: int, line: str) -> None:
        """Leaves a command running in another terminal."""
        self.check_off(section, line)
        self._table = await started(self.bench, line)

    async def read_until(self, section: int, *words: str) -> str:
        """Reads what it prints until a line has all the words."""
        assert self._table is not None
        assert self._table.stdout is not None
        async with asyncio.timeout(60):
            while True:
                line = (await self._table.stdout.readline()).decode()
                assert line, f"it ended before it said {words}"
                self.said[section] += " ".join(line.split()) + "\n"
                if all(word in line for word in words):
                    return line

    async def leave(self) -> None:
        """Ctrl-C there."""
        assert self._table is not None
        self._table.send_signal(signal.SIGINT)
        await self._table.communicate()
        assert self._table.returncode == 130

    def tester(self, state: Literal["B", "C"]) -> None:
        """The tester's switch: it goes to C whatever the pilot says."""
        tester = Ev(TESTER_A, ready_after_s=0.1, wants=state, ignores_pilot=state == "C")
        self.bench.live.catch_up()
        if self.bench.world.connectors[PLACE].ev is None:
            self.bench.plug_in(1, tester)
        else:
            self.bench.world.set_ev(PLACE, tester)

    async def charge(self) -> None:
        """As step 4.3 has it."""
        self.tester("B")
        await self.status_is("Occupied")
        await self.bench.swipe(CARD)
        await self.bench.wait_until(lambda: self.bench.offered_a(1) > 0, "the pilot's current")
        self.tester("C")
        await self.bench.wait_until(lambda: self.is_closed, "a closed contactor", 5.0)

    async def end(self) -> None:
        """The tester is pulled out, and nothing of the charge is left."""
        self.bench.plug_out(1)
        await self.status_is("Available")

    async def status_is(self, status: str) -> None:
        async def is_so() -> bool:
            return bool((await self.bench.connector(1))["status"] == status)

        await self.bench.wait_until(is_so, f"status {status}", 60.0)

    def has_ended(self) -> bool:
        """The CSMS knows that the last charge is over."""
        return list(self.bench.csms.transactions.values())[-1][-1]["eventType"] == "Ended"

    @property
    def is_closed(self) -> bool:
        return self.bench.world.connectors[PLACE].closed


def board_of(bench: DeskBench) -> Path:
    """What `doctor` finds of a board beside its ports, which are those of the bench."""
    root = bench.directory / "board"
    link = root / str(bench.directory).lstrip("/")
    link.parent.mkdir(parents=True)
    link.symlink_to(bench.directory)
    program = "/opt/chargepoint/bin/chargepoint"
    unit = f"[Service]\nExecStart={program} run /etc/chargepoint/charger.yaml\n"
    files = {
        "etc/passwd": f"chargepoint:x:{os.geteuid()}:991::/:/bin/false\n",
        "etc/group": "chargepoint:x:991:\ndialout:x:20:chargepoint\ngpio:x:30:chargepoint\n",
        "etc/systemd/system/chargepoint.service": unit,
        program[1:]: "",
        "dev/gpiochip0": "",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.timeout(600)
async def test_the_whole_walk_is_walked_at_the_desk() -> None:
    """Every command of the page as it stands there, in its order, and all that it says is seen."""
    async with DeskBench(gpio=True, controller_time_scale=0.1) as bench:
        walk = Walk(bench, board_of(bench))
        await the_file_the_board_and_the_devices(walk)
        await states_b_and_c(walk)
        await emergency_stop(walk)
        await the_first_kwh(walk)
        await the_csms(walk)
        assert {line for _, line in walk.left} == LEFT_TO_THE_INSTALLER
        for number, out in walk.said.items():
            missing = [words for words in seen_of(number) if words not in out]
            assert [words for words in missing if INSTEAD.get(words, words) not in out] == [], out
        bench.csms.check()


async def the_file_the_board_and_the_devices(walk: Walk) -> None:
    assert (await walk.do(1, "chargepoint check charger.yaml"))[0] == 0
    assert (await walk.do(2, "chargepoint doctor charger.yaml --offline"))[0] == 0
    code, out = await walk.do(2, "chargepoint doctor charger.yaml")
    assert code == 0, out
    assert "it takes this station with OCPP 2.0.1" in walk.said[2]
    walk.check_off(3, "systemctl stop chargepoint")
    code, out = await walk.do(3, "chargepoint probe charger.yaml")
    assert code == 0, out
    for words in ("serial 70000001", "state A contactor open", "V ", "emergency_stop not active"):
        assert words in walk.said[3], out
    learning = asyncio.create_task(
        walk.do(3, "chargepoint learn charger.yaml --expect 04A2B3C4D5E680")
    )
    while not learning.done():
        await walk.bench.swipe(CARD)
    assert (await learning)[0] == 0


async def states_b_and_c(walk: Walk) -> None:
    bench = walk.bench
    walk.check_off(4, "systemctl start chargepoint")
    await bench.start_agent()
    await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
    await walk.watch(4, "chargepoint probe charger.yaml --watch")
    walk.tester("B")
    await walk.read_until(4, " left:", "state B", "contactor open")
    walk.tester("C")
    await walk.read_until(4, " left:", "state C", "contactor open")
    assert not walk.is_closed
    assert bench.drawn_a(1) == 0
    await walk.charge()
    await walk.read_until(4, " left:", "state C", "contactor closed")
    await walk.read_until(4, " meter_left:", "current 16.00  16.00  16.00 A")
    walk.tester("B")
    await bench.wait_until(lambda: not walk.is_closed, "an open contactor", 3.0)
    walk.tester("C")
    await bench.wait_until(lambda: walk.is_closed, "a closed contactor", 10.0)
    bench.world.raise_fault(PLACE, "diode")
    await bench.wait_until(lambda: not walk.is_closed, "an open contactor", 3.0)
    await walk.status_is("Faulted")
    assert "diode" in (await walk.do(4, "chargepoint status charger.yaml"))[1]
    bench.world.clear_fault(PLACE, "diode")
    await walk.end()
    await walk.leave()


async def emergency_stop(walk: Walk) -> None:
    bench = walk.bench
    await walk.charge()
    bench.gpio.drive(EMERGENCY_STOP, True)
    await bench.wait_until(lambda: not walk.is_closed, "an open contactor", 3.0)
    bench.gpio.drive(EMERGENCY_STOP, False)
    await walk.end()
    await walk.charge()
    bench.world.raise_fault(PLACE, "rcd")
    await bench.wait_until(lambda: not walk.is_closed, "an open contactor", 3.0)
    bench.world.clear_fault(PLACE, "rcd")
    await asyncio.sleep(5)
    assert not walk.is_closed, "no charge begins by itself"
    await walk.end()
    await walk.charge()
    walk.check_off(5, "systemctl kill -s KILL chargepoint")
    await bench.kill_agent()
    code, out = await walk.do(5, "chargepoint safe-off charger.yaml")
    assert (code, out.count("power path open")) == (0, len(EVSE_IDS))
    assert not walk.is_closed
    bench.plug_out(1)
    await bench.start_agent()
    await bench.wait_until(walk.has_ended, "the end of the charge that the crash cut", 60.0)
    await walk.status_is("Available")


async def the_first_kwh(walk: Walk) -> None:
    """A few Wh of it: the desk has no hour."""
    bench = walk.bench
    before_wh = bench.energy_wh(1)
    await walk.charge()
    await bench.wait_until(lambda: bench.energy_wh(1) >= before_wh + 10, "10 Wh", 60.0)
    await bench.swipe(CARD)
    await bench.wait_until(lambda: not walk.is_closed, "an open contactor", 10.0)
    await asyncio.sleep(2)
    display = f"{bench.energy_wh(1) / 1000:.3f}"
    assert display in (await walk.do(6, "chargepoint status charger.yaml"))[1]
    assert f"{display} kWh" in (await walk.do(6, "chargepoint probe charger.yaml"))[1]
    await walk.end()


async def the_csms(walk: Walk) -> None:
    bench = walk.bench

    async def is_empty() -> bool:
        return await bench.queue_length() == 0

    await bench.wait_until(is_empty, "an empty queue", 60.0)
    assert (await walk.do(7, "chargepoint doctor charger.yaml"))[0] == 0
    await walk.watch(7, "chargepoint status charger.yaml --watch")
    await walk.read_until(7, "boot:")
    await walk.leave()
    await bench.cut_network()
    await walk.charge()
    code, out = await walk.do(7, "chargepoint queue charger.yaml --waiting")
    assert "TransactionEvent" in out
    await walk.watch(7, "chargepoint trace charger.yaml")
    await walk.read_until(7, "--", "when this trace began")
    await bench.restore_network()
    line = await walk.read_until(7, "-> TransactionEvent", '"eventType":"Started"')
    assert CARD not in line
    await walk.leave()
    await walk.end()
    await bench.wait_until(is_empty, "an empty queue", 60.0)
    assert await walk.do(7, "chargepoint queue charger.yaml --set-aside") == (0, "")
    code, out = await walk.do(7, "chargepoint probe charger.yaml --json")
    assert (code, json.loads(out)["source"]) == (0, "service")
