"""arthexis of PyPI (Django, Channels on Redis) as a CSMS of the interop scene."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

from hil.desk_file import IDENTITY
from hil.interop.compare import Kept
from hil.interop.processes import (
    HOST,
    InteropError,
    Say,
    arthexis_python,
    end,
    free_port,
    listens,
    redis_program,
    run,
    without_ours,
)

INSIDE = Path(__file__).with_name("arthexis_inside.py")
STEP = "read the lines above"
TRIES = 100


class Arthexis:
    """Kept: what stands in its database."""

    name = "arthexis"
    path = "/ws/ocpp/{identity}/"

    def __init__(self, root: Path, directory: Path, say: Say) -> None:
        self.password: str | None = secrets.token_hex(16)
        self._root = root
        self._directory = directory
        self._say = say
        self._python = Path()
        self._environment: dict[str, str] = {}
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> int:
        """Redis and the server, on an empty database; returns its port. Raises InteropError."""
        redis = redis_program()
        self._python = await arthexis_python(self._root, self._say)
        redis_port, port = free_port(), free_port()
        self._environment = without_ours(
            {
                "ARTHEXIS_DATA_DIR": str(self._directory),
                "ARTHEXIS_SECRET_KEY": secrets.token_hex(32),
                "ARTHEXIS_ALLOWED_HOSTS": HOST,
                "ARTHEXIS_CHANNEL_REDIS_URL": f"redis://{HOST}:{redis_port}/0",
            }
        )
        self._say("interop: arthexis: preparing its database")
        await self._inside("prepare", IDENTITY, str(self.password))
        words = ("--port", str(redis_port), "--bind", HOST, "--save", "", "--appendonly", "no")
        await self._serve(redis_port, "redis", redis, *words)
        daphne = self._python.with_name("daphne")
        where = ("-b", HOST, "-p", str(port), "arthexis.asgi:application")
        await self._serve(port, "daphne", str(daphne), *where)
        return port

    async def stop_transaction(self, transaction_id: str) -> None:
        """By its own model of a charger. Raises InteropError unless the station accepts."""
        number = json.loads(await self._inside("stop", IDENTITY, transaction_id))["operation"]
        told: dict[str, Any] = {}
        for _ in range(TRIES):
            told = json.loads(await self._inside("operation", str(number)))
            if told["status"] not in ("pending", "delivering"):
                break
        if (told["response"] or {}).get("status") != "Accepted":
            raise InteropError(f"RequestStopTransaction came to {told}; read agent.log")

    async def kept(self) -> Kept:
        found = json.loads(await self._inside("dump", IDENTITY))
        states = found["transactions"]
        events = {event["transactionInfo"]["transactionId"] for event in found["events"]}
        problems = [
            f"transaction {name} is {state} in its books"
            for name, state in states.items()
            if state != "completed"
        ]
        if events != set(states):
            problems.append(f"its books hold {sorted(states)}, its events {sorted(events)}")
        return Kept(found["events"], found["refused"], problems)

    async def stop(self) -> None:
        while self._processes:
            await end(self._processes.pop())

    async def _inside(self, *words: str) -> str:
        # -P: what stands beside the script is ours, and hides arthexis
        command = [str(self._python), "-P", str(INSIDE), *words]
        return await run(self._say, command, STEP, env=self._environment, cwd=self._directory)

    async def _serve(self, port: int, name: str, *words: str) -> None:
        path = self._directory / f"{name}.log"
        with path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=self._environment,
            )
        self._processes.append(process)
        await listens(port, process, name, path)
