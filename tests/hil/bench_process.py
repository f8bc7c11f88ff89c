"""`chargepoint bench` as a process, and a client of its control socket."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "config" / "examples"
LIMIT_S = 30.0

Payload = dict[str, Any]


class BenchProcess:
    """`chargepoint bench` with a control client; events and answers are kept apart."""

    def __init__(self, directory: Path, url: str, example: str = "lab") -> None:
        self.config = directory / "charger.yaml"
        self.socket = directory / "c.sock"
        self.events: list[Payload] = []
        self.answers: dict[int, Payload] = {}
        self.process: asyncio.subprocess.Process | None = None
        self._news = asyncio.Condition()
        self._listener: asyncio.Task[None] | None = None
        self._number = 0
        content = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())
        content["csms"] = [{"url": url, "lab_unsecured": True}]
        content["data_directory"] = str(directory / "data")
        self.config.write_text(yaml.safe_dump(content))

    async def start(self, *words: str) -> float:
        """The same command each time; seconds until `hello` was answered."""
        began_s = time.monotonic()
        control = words or ("--control", f"unix:{self.socket}")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hil.bench", str(self.config), *control),
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
        )
        self.events.clear()
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    reader, self.writer = await asyncio.open_unix_connection(str(self.socket))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    assert self.process.returncode is None
                    await asyncio.sleep(0.01)
        self._listener = asyncio.create_task(self._listen(reader))
        assert (await self.ask("hello"))["version"] == 1
        return time.monotonic() - began_s

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            told = json.loads(line)
            async with self._news:
                if "event" in told:
                    self.events.append(told)
                else:
                    self.answers[told["id"]] = told
                self._news.notify_all()

    async def ask(self, cmd: str, **arguments: Any) -> Payload:
        self._number += 1
        number = self._number
        request = {"id": number, "cmd": cmd, **arguments}
        self.writer.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(LIMIT_S), self._news:
            await self._news.wait_for(lambda: number in self.answers)
        return self.answers[number]

    async def do(self, cmd: str, **arguments: Any) -> None:
        told = await self.ask(cmd, **arguments)
        assert told["ok"], told

    async def event(self, predicate: Callable[[Payload], bool]) -> None:
        async with asyncio.timeout(LIMIT_S), self._news:
            await self._news.wait_for(lambda: any(map(predicate, self.events)))

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        await self._hung_up()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        code = await self.process.wait()
        await self._hung_up()
        return code

    async def _hung_up(self) -> None:
        if self._listener is not None:
            await self._listener
        self.writer.close()
