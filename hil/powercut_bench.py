"""The desk bench with a switch for the power: SIGKILL, other boots, controllers that go dark."""

import asyncio
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from drivers.sim.world import Place
from hil.desk import CONNECTOR_ID, EVSE_IDS, METER_START_WH, BenchError, DeskBench
from hil.parts.csms import Received
from hil.powercut_plan import Kill, Moment
from hil.verdict import Evidence, Outage

LOOK_S = 0.005
MOMENT_LIMIT_S = 3.0
"""A moment that does not come is killed then."""
ALLOWS = frozenset({"FE", "SC"})
"""What an agent that gives power tells an OpenEVSE; without it the controller closed by itself."""
SUPPLY_A = 40.0
SAMPLE_INTERVAL_S = 1
CONTROLLER_TIME_SCALE = 0.4
"""Controllers that start and test themselves faster than real ones: more charging per kill."""


class PowercutBench(DeskBench):
    """`boot` starts the agent on a boot of its own, `cut` ends it as the plan says."""

    def __init__(self) -> None:
        super().__init__(
            supply_a=SUPPLY_A,
            sample_interval_s=SAMPLE_INTERVAL_S,
            controller_time_scale=CONTROLLER_TIME_SCALE,
        )
        self.kills = 0
        self.network_cuts = 0
        self.stored: dict[str, tuple[str, int]] = {}
        """Message id -> (transactionId, seqNo) of all that a kill left on disk."""
        self.problems: list[str] = []
        """What is wrong with the disk after a kill."""
        self._boots = 0
        self._commands_before: dict[int, int] = {}
        self._closed_by_itself: dict[int, float] = {}
        self._given_away_wh: dict[int, list[tuple[float, float]]] = {n: [] for n in EVSE_IDS}
        self._event_came = asyncio.Event()
        self.csms.on_call = self._on_call
        self.world.listeners.append(self._watch_contactors)

    async def boot(self, booted_s: float) -> None:
        """Another boot, `booted_s` s ago."""
        self._boots += 1
        zero_s = time.monotonic() - booted_s
        self.command = ("hil.powercut_agent", f"boot-{self._boots}", f"{zero_s}")
        await self.start_agent()

    # --- kills ------------------------------------------------------------------------------------

    async def wait_for(self, kill: Kill) -> None:
        """From the start of the process to the moment of its end. Raises BenchError when it ends
        by itself."""
        came = asyncio.create_task(self._moment(kill.moment))
        try:
            async with asyncio.timeout(MOMENT_LIMIT_S):
                await came
        except TimeoutError:
            pass
        await asyncio.sleep(kill.after_s)
        if self._process is not None and self._process.returncode is not None:
            code = self._process.returncode
            raise BenchError(f"the agent ended with exit code {code}{self._last_lines()}")

    async def _moment(self, moment: Moment) -> None:
        if moment is Moment.OPEN:
            before = self._disk_marks()
            await self._soon(lambda: self._disk_marks() != before)
        elif moment is Moment.IN_FLIGHT:
            self._event_came.clear()
            await self._event_came.wait()

    async def _soon(self, condition: Callable[[], bool]) -> None:
        """Looks far more often than `wait_until`."""
        while not condition():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(LOOK_S / 5)

    def _disk_marks(self) -> list[tuple[str, int, int]]:
        found = []
        for path in sorted(self._data.glob("chargepoint.db*")):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append((path.name, stat.st_size, stat.st_mtime_ns))
        return found

    async def cut(self, kill: Kill) -> None:
        """SIGKILL, what is on disk, a while without power, and the next process."""
        self.kills += 1
        if kill.controllers:
            for controller in self.controllers.values():
                controller.stop()
        await self.kill_agent()
        self._read_disk()
        with self.agent_log.open("a") as log:
            log.write(f"--- kill {self.kills} at {self._now_s():.3f} s: {kill}\n")
        await asyncio.sleep(kill.down_s)
        if kill.controllers:
            for evse_id, controller in self.controllers.items():
                self._commands_before[evse_id] = len(controller.received)
                controller.start()
        if kill.cold:
            await self.boot(kill.booted_s)
        else:
            await self.start_agent()

    def _read_disk(self) -> None:
        waiting = outbox_of(self._data)
        arrived = {c.message_id for c in self.csms.calls if c.action == "TransactionEvent"}
        unsettled = [message_id for message_id in waiting if message_id in arrived]
        if unsettled and unsettled != list(waiting)[:1]:
            self.problems.append(
                f"kill {self.kills}: {len(unsettled)} events had left and still wait: {unsettled}"
            )
        self.stored.update(waiting)

    def _on_call(self, call: Received) -> None:
        if call.action == "TransactionEvent":
            self._event_came.set()

    # --- the world and the network ----------------------------------------------------------------

    def _watch_contactors(self) -> None:
        for place, connector in self.world.connectors.items():
            evse_id = place[0]
            began_wh = self._closed_by_itself.get(evse_id)
            if began_wh is None and connector.closed and self._nobody_allowed(place):
                self._closed_by_itself[evse_id] = self.world.meter(evse_id).energy_wh
            elif began_wh is not None and not connector.closed:
                del self._closed_by_itself[evse_id]
                ended_wh = self.world.meter(evse_id).energy_wh
                self._given_away_wh[evse_id].append((began_wh, ended_wh))

    def _nobody_allowed(self, place: Place) -> bool:
        since = self._commands_before.get(place[0], 0)
        return not any(c.name in ALLOWS for c in self.controllers[place[0]].received[since:])

    async def watch_link(self) -> None:
        """Notes for ever when the station is offline, as the CSMS sees it."""
        self.outages.append(Outage(self._now_s()))
        while True:
            was_online = self.outages[-1].back_s is not None
            online = self.csms.is_connected and self.csms.boot_status == "Accepted"
            if was_online and not online:
                self.outages.append(Outage(self._now_s()))
            elif online and not was_online:
                self.outages[-1] = Outage(self.outages[-1].cut_s, self._now_s())
            await asyncio.sleep(LOOK_S)

    async def unplug_network(self) -> None:
        self.network_cuts += 1
        await self.server.drop()

    async def plug_in_network(self) -> None:
        await self.server.accept()

    # --- at the end -------------------------------------------------------------------------------

    def evidence(self, status: Mapping[str, int], exit_code: int | None) -> Evidence:
        """`status` and `exit_code` of the last process, told to stop when all was quiet."""
        return Evidence(
            calls=tuple(self.csms.calls),
            violations=(*self.csms.violations, *self.problems),
            meters_wh={n: (METER_START_WH[n], self.energy_wh(n)) for n in EVSE_IDS},
            outages=tuple(self.outages),
            utc_offset_s=self.utc_offset_s,
            waiting=status["queue"],
            set_aside=status["set_aside"],
            thinned=status["thinned"],
            exit_code=exit_code,
            stored=self.stored,
            given_away_wh=self._given_away_wh,
        )

    def plugged(self, evse_id: int) -> bool:
        return self.world.connectors[evse_id, CONNECTOR_ID].ev is not None


def outbox_of(data: Path) -> dict[str, tuple[str, int]]:
    """Message id -> (transactionId, seqNo) of the TransactionEvents that wait, oldest first; of a
    dead agent's data directory, which is left as it is."""
    with tempfile.TemporaryDirectory() as name:
        copies = [shutil.copy(path, name) for path in data.glob("chargepoint.db*")]
        if not any(copy.endswith("chargepoint.db") for copy in copies):
            return {}
        connection = sqlite3.connect(Path(name, "chargepoint.db"))
        try:
            rows = connection.execute(
                "SELECT message_id, body FROM outbox WHERE action = 'TransactionEvent'"
                " ORDER BY row_id"
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return {}  # killed before the first migration
        finally:
            connection.close()
    found = {}
    for message_id, body in rows:
        event = json.loads(body)
        found[message_id] = (event["transactionInfo"]["transactionId"], event["seqNo"])
    return found
