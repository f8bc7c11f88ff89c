"""The hook for a real device, tried on pretended ones: all goes through the rig file."""

import asyncio
from pathlib import Path

import pytest

from drivers.contract import DeviceLost, PilotState, PowerPath
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.modbus_slave import ModbusSlave, Unit
from hil.parts.openevse import OpenEvse
from hil.parts.pty_port import PtyPort
from tests.contract.conftest import is_real
from tests.contract.meter_rigs import SILENCE, SWAP, Device, real
from tests.contract.real_rig import RealRig, rig_file
from tests.contract.rigs import HERE, Watch

RIG = """\
device: {{driver: openevse, port: {port}, poll_s: 0.1}}
do:
  A: echo A > {folder}/ev
  B: echo B > {folder}/ev
  C: echo C > {folder}/ev
  rcd: echo rcd > {folder}/fault
  clear rcd: rm {folder}/fault
contacts: cat {folder}/contacts
settle_s: 0
"""


async def pretend(world: World, live: LiveWorld, folder: Path) -> None:
    """An EV emulator and a meter at the contacts, moved by files."""
    while True:
        live.catch_up()
        wanted = (folder / "ev").read_text().strip() if (folder / "ev").exists() else ""
        connector = world.connectors[HERE]
        if wanted == "A" and connector.ev is not None:
            world.plug_out(HERE)
        if wanted in ("B", "C") and connector.ev is None:
            world.plug_in(HERE, Ev(wants=wanted, ready_after_s=0.05))
        (folder / "contacts").write_text("closed\n" if connector.closed else "open\n")
        await asyncio.sleep(0.01)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - reports come by a plain callback
            await asyncio.sleep(0.05)


async def test_a_rig_file_moves_the_ev_and_reads_the_contacts(tmp_path) -> None:
    port = PtyPort()
    port.open()
    world = World({1: [1]})
    live = LiveWorld(world)
    controller = OpenEvse(port, live, HERE, time_scale=0.05)
    controller.start()
    emulator = asyncio.create_task(pretend(world, live, tmp_path))
    (tmp_path / "rig.yaml").write_text(RIG.format(port=port.path, folder=tmp_path))
    rig = RealRig(str(tmp_path / "rig.yaml"))
    assert rig.features == {"rcd"}
    await rig.start()
    watch = Watch(rig)
    try:
        await until(lambda: rig.driver.power_path() is PowerPath.OPEN)
        assert not rig.is_closed()
        await rig.ev("C")
        rig.driver.allow_power(10)
        await until(rig.is_closed)
        await until(lambda: watch.seen[-1].reading.state is PilotState.C)
        await rig.do("rcd")
        assert (tmp_path / "fault").exists()
    finally:
        await watch.end()
        await rig.end()
        emulator.cancel()
        controller.stop()
        port.unplug()


def test_a_rig_file_without_the_ev_is_refused(tmp_path) -> None:
    (tmp_path / "rig.yaml").write_text("device: {driver: openevse, port: x}\ndo: {A: 'true'}\n")
    with pytest.raises(AssertionError, match=r"no command for \['B', 'C'\]; add them"):
        RealRig(str(tmp_path / "rig.yaml"))


async def test_a_command_that_fails_is_named(tmp_path) -> None:
    text = RIG.format(port="x", folder=tmp_path).replace(f"echo B > {tmp_path}/ev", "exit 3")
    (tmp_path / "rig.yaml").write_text(text)
    with pytest.raises(AssertionError, match="'exit 3' ended with 3"):
        await RealRig(str(tmp_path / "rig.yaml")).ev("B")


async def test_a_rig_file_of_a_meter_silences_and_swaps_it(tmp_path, monkeypatch) -> None:
    port, device = PtyPort(), Device("eastron_sdm630_v2")
    port.open()
    slave = ModbusSlave(port, {1: Unit(device.counted)})
    answer = port.on_bytes

    def heard(data: bytes) -> None:
        if (tmp_path / "swapped").exists():
            device.values |= {"serial": 4712.0}
        if not (tmp_path / "silent").exists():
            answer(data)

    port.on_bytes = heard
    (tmp_path / "rig.yaml").write_text(
        f"device: {{driver: modbus_meter, line: bus, model: eastron_sdm630_v2, interval_s: 0.1}}\n"
        f"lines: {{bus: {{port: {port.path}}}}}\n"
        f"do: {{silence: touch {tmp_path}/silent, speak: rm {tmp_path}/silent, "
        f"swap: touch {tmp_path}/swapped}}\n"
    )
    monkeypatch.setenv("CHARGEPOINT_RIG", str(tmp_path / "rig.yaml"))
    assert (is_real("meter"), is_real("pilot")) == (True, False)
    async with real("real") as rig:
        assert rig.features >= {SILENCE, SWAP}
        task = asyncio.create_task(rig.meter.run(rig.seen.append))
        await rig.until(2)
        assert rig.readings()[-1].serial == "4711"
        await rig.do(SILENCE)
        await rig.until(1, DeviceLost, after=0)
        await rig.do(SWAP)
        await rig.do("speak")
        await rig.until(2)
        assert rig.readings()[-1].serial == "4712"
        assert slave.requests
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    port.unplug()


def test_a_rig_file_without_commands_is_enough_for_a_meter(tmp_path) -> None:
    (tmp_path / "rig.yaml").write_text("device: {driver: modbus_meter, line: x, model: abb_b23}\n")
    assert rig_file(str(tmp_path / "rig.yaml")).do == {}
