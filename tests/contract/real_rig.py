"""A real device on a bench: a rig file names it, and a command for each thing to do."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import yaml

from drivers.contract import DeviceOptions, PilotController, SerialLine
from drivers.registry import Registry

EV_STATES = ("A", "B", "C", "grabs")


class RigFile(msgspec.Struct, forbid_unknown_fields=True):
    """See hil/README.md."""

    device: DeviceOptions
    do: dict[str, str] = {}
    """Shell command for each EV state and each thing that can be done."""
    lines: dict[str, SerialLine] = {}
    contacts: str = ""
    """Shell command that prints `open` or `closed`; without it the driver's view counts."""
    settle_s: float = 2.0
    """Between two scenarios, with the EV unplugged."""


def rig_file(path: str) -> RigFile:
    """Raises OSError, YAMLError or ValidationError, which say where the file is wrong."""
    with open(path, encoding="utf-8") as file:
        return msgspec.convert(yaml.safe_load(file), RigFile)


async def command(text: str) -> None:
    """Runs a command of the file to its end."""
    process = await asyncio.create_subprocess_shell(text)
    code = await process.wait()
    assert code == 0, f"{text!r} ended with {code}"


class RealRig:
    """Implements rigs.Rig; the clock is the real one."""

    def __init__(self, path: str) -> None:
        self._file = rig_file(path)
        missing = [state for state in EV_STATES[:3] if state not in self._file.do]
        assert not missing, f"{path}: `do` has no command for {missing}; add them"
        self.name = path
        features = {n for n in self._file.do if not n.startswith(("clear ", "speak", "plug"))}
        self.features = frozenset(features - set(EV_STATES)) | (
            {"stubborn"} if "grabs" in self._file.do else frozenset()
        )
        self.driver: PilotController

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        asyncio.run(scenario)

    async def start(self) -> None:
        driver: Any = Registry(self._file.lines).build("pilot", self._file.device)
        self.driver = driver
        await self.ev("A")
        await asyncio.sleep(self._file.settle_s)

    async def end(self) -> None:
        await self.ev("A")

    async def ev(self, state: str) -> None:
        await self.do(state)

    async def do(self, what: str) -> None:
        assert what in self._file.do, f"{self.name}: `do` has no command for {what!r}; add it"
        await command(self._file.do[what])

    def is_closed(self) -> bool:
        if not self._file.contacts:
            return self.driver.power_path() != "open"
        import subprocess

        done = subprocess.run(
            self._file.contacts, shell=True, check=True, capture_output=True, text=True
        )
        said = done.stdout.strip()
        assert said in ("open", "closed"), f"`contacts` printed {said!r}, not open or closed"
        return said == "closed"
