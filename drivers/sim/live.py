"""The simulated world on an event loop's clock: a timer for its next change, nothing else."""

import asyncio
import json
import os
from pathlib import Path

from drivers.sim.world import World


class LiveWorld:
    """Keeps a world in step with the running loop and, where asked, with a file.

    With `save_path` the world is written after each change and by `save`; a file that is
    present is loaded. A world that was never touched inside a loop stands still.
    """

    def __init__(self, world: World, save_path: str | None = None) -> None:
        self.world = world
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._path = Path(save_path) if save_path else None
        if self._path and self._path.exists():
            world.restore(json.loads(self._path.read_text()))
        world.listeners.append(self._on_change)

    def catch_up(self) -> float:
        """Brings the world to the loop's time, which it returns; outside a loop does nothing."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.world.now_s
        if loop is not self._loop:
            self._move_to(loop)
        self.world.advance(max(loop.time(), self.world.now_s))
        self._schedule()
        return self.world.now_s

    def save(self) -> None:
        """Replaces the file whole, so that a kill leaves the old or the new one."""
        if self._path is None:
            return
        draft = self._path.with_name(self._path.name + ".new")
        draft.write_text(json.dumps(self.world.snapshot()))
        os.replace(draft, self._path)

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """The world goes on where it stood, on another loop's clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop = loop
        self.world.rebase(loop.time())

    def _on_change(self) -> None:
        self.save()
        self._schedule()

    def _schedule(self) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        at_s = self.world.next_change_s()
        if self._timer is not None:
            if self._timer.when() == at_s and not self._timer.cancelled():
                return
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            self._timer = self._loop.call_at(at_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.catch_up()
