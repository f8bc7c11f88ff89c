"""config/COMMISSIONING.md: every command in it exists, and what can be done at a desk is done."""

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from hil.desk import DeskBench
from hil.desk_file import READER
from hil.parts.modbus_slave import Fault

PAGE = Path(__file__).parent.parent / "config" / "COMMISSIONING.md"
COMMANDS = re.findall(r"^ +(chargepoint .+)$|`(chargepoint [a-z-]+ [^`]*)`", PAGE.read_text(), re.M)
LINES = sorted({block or inline for block, inline in COMMANDS})
CARD = "04A2B3C4D5E680"


def test_the_walk_names_every_command_of_the_technician() -> None:
    named = {line.split()[1] for line in LINES}
    every = {"check", "doctor", "probe", "learn", "status", "trace", "queue", "safe-off"}
    assert named == every


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_walk_exists_with_its_options(line: str) -> None:
    arguments = cli._parser().parse_args(shlex.split(line)[1:])
    assert arguments.config == "charger.yaml"


def test_files_that_the_walk_links_are_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text())
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


async def started(bench: DeskBench, line: str, *more: str) -> asyncio.subprocess.Process:
    """A command of the walk, on the bench's own file."""
    words = shlex.split(line.replace("charger.yaml", str(bench.config)))[1:]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *bench.command, *words, *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def said(bench: DeskBench, line: str, *more: str) -> tuple[int, str]:
    """Exit status and output of a command of the walk."""
    process = await started(bench, line, *more)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def probed(bench: DeskBench) -> tuple[int, dict[str, Any], str]:
    code, out = await said(bench, "chargepoint probe charger.yaml --json")
    told = json.loads(out)
    return code, {row["name"]: row for row in told["devices"]}, told["source"]


async def test_the_devices_are_probed_without_the_service_and_through_it() -> None:
    async with DeskBench() as bench:
        assert (await said(bench, "chargepoint check charger.yaml"))[0] == 0
        code, rows, source = await probed(bench)
        assert [row["complaints"] for row in rows.values()] == [[]] * 5
        assert (code, source) == (0, "direct")
        assert rows["meter_left"]["meter"]["serial"] == "70000001"
        assert rows["left"]["pilot"]["power_path"] == "open"
        assert rows["meter_left"]["counters"]["requests"] > 0
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)

        async def is_well() -> bool:
            code, _, source = await probed(bench)
            return (code, source) == (0, "service")

        await bench.wait_until(is_well, "a probe by the service without complaint")
        _, out = await said(bench, "chargepoint doctor charger.yaml")
        assert "no second link is opened" in " ".join(out.split())
        assert bench.csms.is_connected
        learning = asyncio.create_task(
            said(bench, f"chargepoint learn charger.yaml --expect {CARD}")
        )
        while not learning.done():
            await bench.swipe(CARD)
        code, out = await learning
        assert (code, out.splitlines()[-1]) == (0, "as expected")
        bench.meters.inject(Fault.SILENT, unit=2)

        async def tells_the_loss() -> bool:
            code, rows, _ = await probed(bench)
            return code == 1 and "no answer" in str(rows["meter_right"]["complaints"])

        await bench.wait_until(tells_the_loss, "the silent meter in probe", 60.0)
        component = {"name": "Device", "instance": "meter_right"}
        asked = [{"component": component, "variable": {"name": "Timeouts"}}]
        answer = await bench.csms.call("GetVariables", {"getVariableData": asked})
        (result,) = answer["getVariableResult"]
        assert int(result["attributeValue"]) >= 2
        assert READER in (await said(bench, "chargepoint status charger.yaml"))[1]
        bench.csms.check()
