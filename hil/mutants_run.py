"""Runs the conformance tests with one thing wrong at a time, each mutant in a forked process.

pytest collects once; a fork runs a mutant's tests until one fails, so that nothing of a mutant
outlives it. A test that takes far longer than it did has noticed, too.
"""

import gc
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing import connection, get_context
from typing import Any

import pytest

from agent.ocpp import router
from agent.ocpp.block import Answer, Later
from hil.mutants_frames import NOT_SENT, added, as_text, changed, other_value, rules
from hil.mutants_plan import ROOT, Mutant, Recording, matches
from hil.parts.memory_link import MemoryLink

WORKERS = 2
PATIENCE_S = 10.0
"""CPU time a test may take, beside ten times what it took when nothing was wrong."""
OPTIONS = ("-s", "-p", "no:terminal", "-p", "no:xdist", "-p", "no:timeout")


class TookTooLong(SystemExit):
    """Raised inside a test; asyncio lets it through."""


class Tamper:
    """Between the station and its link: notes what passes, and does what the mutant says."""

    def __init__(self, mutant: Mutant | None = None) -> None:
        self.mutant = mutant
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.called: set[str] = set()
        self.effective: set[str] = set()
        self._actions: dict[str, str] = {}
        self._copies = 0

    def install(self) -> None:
        """For this process, for good."""
        send, arrive = MemoryLink.send, MemoryLink._from_csms

        async def up(link: MemoryLink, text: str) -> None:
            for part in self.from_station(link, text):
                await send(link, part)

        async def down(link: MemoryLink, text: str) -> None:
            refusal = self.to_station(text)
            await (arrive(link, text) if refusal is None else send(link, refusal))

        for name, function in (("send", up), ("_from_csms", down)):
            setattr(MemoryLink, name, function)
        for action, handler in router.INCOMING.items():
            router.INCOMING[action] = self._watched(action, handler)

    def from_station(self, link: MemoryLink, text: str) -> Iterator[str]:
        """What arrives of a frame of the station."""
        frame = json.loads(text)
        if frame[0] not in (2, 3):
            yield text
            return
        message = f"{frame[2]}Request" if frame[0] == 2 else f"{self._actions[frame[1]]}Response"
        self.sent.setdefault(message, []).append(frame[-1])
        mutant = self.mutant
        if mutant is None or mutant.message != message or not matches(frame[-1], mutant.where):
            yield text
        elif mutant.kind == "unsent":
            link.answer_usually(text)
        else:
            yield json.dumps([*frame[:-1], corrupted(frame[-1], mutant)])
            if mutant.kind == "twice":
                self._copies += 1
                yield json.dumps([frame[0], f"copy-{self._copies}", *frame[2:]])

    def to_station(self, text: str) -> str | None:
        """None: it arrives; or what the station is made to say to it."""
        try:
            frame = json.loads(text)
            is_call = frame[0] == 2 and isinstance(frame[2], str)
        except (ValueError, TypeError, LookupError):
            return None
        if not is_call:
            return None
        self._actions[frame[1]] = frame[2]
        self.called.add(frame[2])
        mutant = self.mutant
        if mutant and (mutant.kind, mutant.message) == ("refused", f"{frame[2]}Request"):
            return json.dumps([4, frame[1], "NotSupported", "", {}])
        return None

    def _watched(self, action: str, handler: Callable[..., Answer | Later]) -> Any:
        mutant = self.mutant
        is_idle = mutant and (mutant.kind, mutant.message) == ("idle", f"{action}Request")

        def answer(*words: Any) -> Answer | Later:
            found = handler(*words)
            stream = isinstance(found, Answer) and found.stream
            if found.events or found.effects or stream:
                self.effective.add(action)
            return _idle(found) if is_idle else found

        return answer


def _idle(answer: Answer | Later) -> Answer | Later:
    if isinstance(answer, Answer):
        return Answer(answer.payload)
    decide = answer.decide

    def decided(*words: Any) -> Answer | None:
        found = decide(*words)
        return None if found is None else Answer(found.payload)

    return Later(answer.deadline_s, Answer(answer.otherwise.payload), decided)


def corrupted(payload: dict[str, Any], mutant: Mutant) -> dict[str, Any]:
    """A payload as the mutant sends it."""
    if mutant.kind == "added":
        return added(payload, mutant.path, mutant.value)
    if mutant.kind == "removed":
        return changed(payload, mutant.path, lambda value: NOT_SENT)
    if mutant.kind != "other":
        return payload
    rule = rules(mutant.message)[mutant.path]
    allowed = next((f.allowed for f in mutant.where if f.path == mutant.path), ())

    def other(value: Any) -> Any:
        is_meant = not allowed or as_text(value) in allowed
        return other_value(value, rule, allowed) if is_meant else value

    return changed(payload, mutant.path, other)


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
