"""Slow work without threads, files or network: each order takes a while and ends as planned.

It stands where the room `agent.jobs` stands, so that a day of downloads fits a virtual-time bench.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from agent.core.jobs import (
    ConfirmFirmware,
    FetchFirmware,
    Installed,
    InstallFirmware,
    JobDone,
    JobFailed,
    JobMoved,
    UploadLog,
    VerifyFirmware,
)

TAKES_S: dict[type, float] = {
    FetchFirmware: 20.0,
    VerifyFirmware: 2.0,
    InstallFirmware: 30.0,
    ConfirmFirmware: 0.5,
    UploadLog: 5.0,
}

Post = Callable[[object], None]


class SimWork:
    """The plan of a bench; it outlives the agent's restarts."""

    def __init__(self) -> None:
        self.takes_s = dict(TAKES_S)
        self.fails: dict[type, list[str]] = defaultdict(list)
        """Causes of the next failures of an order; an empty list: it succeeds. "" is a success in
        between."""
        self.installed = Installed("board", "slot B")
        self.started: list[object] = []
        """Every order begun, oldest first."""

    def room(self, post: Post) -> "SimRoom":
        """What one process of the agent works with."""
        return SimRoom(self, post)

    def of(self, kind: type) -> list[Any]:
        return [order for order in self.started if type(order) is kind]


class SimRoom:
    """Stands for `agent.jobs.Jobs`."""

    def __init__(self, work: SimWork, post: Post) -> None:
        self._work = work
        self._post = post
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, job_id: str, order: object) -> None:
        self._work.started.append(order)
        self._tasks[job_id] = asyncio.create_task(self._play(job_id, order), name=job_id)

    def cancel(self, job_id: str) -> None:
        task = self._tasks.pop(job_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _play(self, job_id: str, order: object) -> None:
        takes_s = self._work.takes_s.get(type(order), 0.0)
        for percent in (0, 50):
            self._post(JobMoved(job_id, "working", percent))
            await asyncio.sleep(takes_s / 2)
        planned = self._work.fails[type(order)]
        cause = planned.pop(0) if planned else ""
        if cause:
            self._post(JobFailed(job_id, cause, f"planned: {cause}"))
        else:
            is_install = isinstance(order, InstallFirmware)
            self._post(JobDone(job_id, self._work.installed if is_install else None))
        self._tasks.pop(job_id, None)
