"""Short work beside the loop, one order after the other: keys, certificates, the security log."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from agent.core.effects import CheckCertificate, Chore, KeepKeys, LogSecurity, MakeKey
from agent.jobs import SECURITY_LOG, certificates
from agent.jobs.security_log import SecurityLog

log = logging.getLogger(__name__)

KEYS = "keys"


class Chores:
    """One thread, so that nothing overtakes; no job of any length keeps them waiting. `inline`: at
    once, for benches without threads."""

    def __init__(
        self, directory: Path, post: Callable[[object], None], *, inline: bool = False
    ) -> None:
        keys = directory / KEYS
        security_log = SecurityLog(directory / SECURITY_LOG)
        self._work: dict[type, Callable[..., object]] = {
            MakeKey: lambda order: certificates.make_key(keys, order),
            CheckCertificate: lambda order: certificates.check_certificate(keys, order),
            KeepKeys: lambda order: certificates.keep_keys(keys, order),
            LogSecurity: security_log.write,
        }
        self._post = post
        self._inline = inline
        self._thread: ThreadPoolExecutor | None = None

    def do(self, order: Chore) -> None:
        """Returns at once; the answer, where the order has one, is posted from the loop."""
        work = self._work[type(order)]
        if self._inline:
            self._tell(work(order))
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "chores")
        loop = asyncio.get_running_loop()
        future = self._thread.submit(work, order)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._done, done))

    def _done(self, future: "Future[object]") -> None:
        """An error here is a bug: it goes where the loop's errors go."""
        if not future.cancelled():
            self._tell(future.result())

    def _tell(self, answer: object) -> None:
        if answer is not None:
            self._post(answer)

    def close(self) -> None:
        """Finishes what is being done and drops the rest."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
