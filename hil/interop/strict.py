"""The strict server of npm as a CSMS of the interop scene."""

import asyncio
import json
from pathlib import Path
from typing import Any

from hil.interop.compare import Kept
from hil.interop.processes import InteropError, Say, end, strict_place, without_ours

SCRIPT = Path(__file__).with_name("strict.mjs")
ANSWERS_WITHIN_S = 30.0
LINE_LIMIT = 1 << 22


class Strict:
    """Every frame passed its schemas, or stands in `refused`."""

    name = "ocpp-rpc"
    path = "/ocpp"
    password: str | None = None

    def __init__(self, root: Path, directory: Path, say: Say) -> None:
        self._root = root
        self._directory = directory
        self._say = say
        self._told: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """The port it listens on. Raises InteropError."""
        place = await strict_place(self._root, self._say)
        log = (self._directory / "strict.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *("node", str(SCRIPT)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=place,
                env=without_ours({}),
                limit=LINE_LIMIT,
            )
        self._reading = asyncio.create_task(self._read())
        return int((await self._wait(("listening",), 0))["port"])

    async def stop_transaction(self, transaction_id: str) -> None:
        """RequestStopTransaction. Raises InteropError unless it is accepted."""
        assert self._process is not None
        assert self._process.stdin is not None
        seen = len(self._told)
        params = {"transactionId": transaction_id}
        request = {"method": "RequestStopTransaction", "params": params}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._wait(("answer", "failed"), seen)
        if answer.get("params", {}).get("status") != "Accepted":
            raise InteropError(f"RequestStopTransaction: {answer}; read agent.log")

    async def kept(self) -> Kept:
        calls = [told for told in self._told if told["kind"] == "call"]
        return Kept(
            events=[c["params"] for c in calls if c["method"] == "TransactionEvent"],
            refused=[
                f"{told['kind']}: {told['text']}"
                for told in self._told
                if told["kind"] in ("invalid", "bad", "failed")
            ],
            problems=[] if any(c["method"] == "BootNotification" for c in calls) else ["no boot"],
        )

    async def stop(self) -> None:
        if self._process is not None:
            await end(self._process)
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._told.append(json.loads(line))
            self._news.set()

    async def _wait(self, kinds: tuple[str, ...], after: int) -> dict[str, Any]:
        """The first of those that it told from place `after` on. Raises InteropError."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                while True:
                    for told in self._told[after:]:
                        if told["kind"] in kinds:
                            return told
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            log = self._directory / "strict.log"
            raise InteropError(f"the strict server said no {kinds[0]}; read {log}") from None
