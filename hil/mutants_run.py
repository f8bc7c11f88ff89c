"""Runs the conformance tests with one thing wrong at a time, each mutant in a forked process.

pytest collects once; a fork runs a mutant's tests until one fails, so that nothing of a mutant
outlives it. A test that takes far longer than it did has noticed, too.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing import connection, get_context
from typing import Any

import pytest

from hil.mutants_plan import ROOT, Mutant, Recording
from hil.mutants_tamper import Tamper

WORKERS = 2
PATIENCE_S = 10.0
"""CPU time a test may take, beside ten times what it took when nothing was wrong."""
OPTIONS = ("-s", "-p", "no:terminal", "-p", "no:xdist", "-p", "no:timeout")


class TookTooLong(SystemExit):
    """Raised inside a test; asyncio lets it through."""


class Bench:
    """The collected tests, as a pytest plugin: `work` is called with them instead of a run."""

    def __init__(self, work: "Callable[[Bench], None]") -> None:
        self._work = work
        self.items: dict[str, pytest.Item] = {}
        self._failure: str | None = None

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self._work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failure = f"{report.when}: {report.longreprtext.strip().splitlines()[-1]}"

    def run(self, test: str, limit_s: float) -> str | None:
        """Why the test failed, or None. Only once per process and test."""
        self._failure = None
        signal.setitimer(signal.ITIMER_PROF, limit_s, 1.0)
        try:
            item = self.items[test]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        except TookTooLong:
            return "took too long"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        return self._failure

    # --- in forks -------------------------------------------------------------------------------

    def record(self, tests: list[str]) -> list[Recording]:
        """What happens in each test; raises RuntimeError when one fails as it is."""
        recordings = []
        for test, recording in in_forks((test, partial(self._recorded, test)) for test in tests):
            if isinstance(recording, str):
                raise RuntimeError(f"{test} fails as it is ({recording}); mend it first")
            recordings.append(recording)
        return recordings

    def _recorded(self, test: str) -> Recording | str:
        tamper = Tamper()
        tamper.install()
        start = time.process_time()
        why = self.run(test, 60.0)
        if why is not None:
            return why
        name = getattr(self.items[test], "originalname", "").removeprefix("test_")
        seconds = time.process_time() - start
        return Recording(test, name, seconds, tamper.sent, tamper.called, tamper.effective)

    def attack(
        self, mutants: Iterable[Mutant], seconds: dict[str, float]
    ) -> Iterator[tuple[Mutant, tuple[str, str] | None]]:
        """(mutant, (the test that noticed it, how) or None), as they end."""
        jobs = (
            (mutant, lambda mutant=mutant: self._attacked(mutant, seconds)) for mutant in mutants
        )
        yield from in_forks(jobs)

    def _attacked(self, mutant: Mutant, seconds: dict[str, float]) -> tuple[str, str] | None:
        Tamper(mutant).install()
        for test in mutant.tests:
            why = self.run(test, PATIENCE_S + 10 * seconds[test])
            if why is not None:
                return test, why
        return None


def in_forks(jobs: Iterable[tuple[Any, Callable[[], Any]]]) -> Iterator[tuple[Any, Any]]:
    """(name, result) of each job, as they end; WORKERS at a time."""
    waiting = iter(jobs)
    running: dict[Any, tuple[Any, Any]] = {}
    fork = get_context("fork")
    gc.freeze()  # a collection in a fork would copy every page
    while True:
        while len(running) < WORKERS and (job := next(waiting, None)) is not None:
            here, there = fork.Pipe(duplex=False)
            process = fork.Process(target=_in_fork, args=(job[1], there))
            process.start()
            there.close()
            running[here] = (job[0], process)
        if not running:
            return
        ended: list[Any] = connection.wait(list(running))
        for ready in ended:
            name, process = running.pop(ready)
            try:
                result = ready.recv()
            except EOFError:
                result = ("", "the process died")
            process.join()
            ready.close()
            yield name, result


def _in_fork(job: Callable[[], Any], there: Any) -> None:
    signal.signal(signal.SIGPROF, _too_long)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    there.send(job())
    os._exit(0)  # nothing of the parent's is to be wound up


def _too_long(number: int, frame: Any) -> None:
    raise TookTooLong("took too long")


def with_tests(paths: list[str], work: Callable[[Bench], None]) -> None:
    """Collects the tests and hands them over; raises RuntimeError when they cannot be read."""
    words = [*OPTIONS, f"--rootdir={ROOT}", "-o", "addopts=--import-mode=importlib"]
    words += ["-c", str(ROOT / "pyproject.toml"), *paths]
    code = pytest.main(words, plugins=[Bench(work)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest could not collect {paths} ({code}); run it by hand")
