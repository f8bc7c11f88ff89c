"""`make conformance-mutants`: is there a test that notices, when the station does it wrong?

Every handler is disabled, every message left out or sent twice, and every field that a case of the
standard validates is corrupted, one at a time. A mutant belongs to a case and has to be noticed by
a test of that case (`any`: by any test). What nobody noticed is listed.
"""

import argparse
import hashlib
import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hil.mutants_plan import (
    EXPLAINED,
    ROOT,
    VALIDATED,
    Mutant,
    plan,
    read_explained,
    read_validations,
    unseen,
    wanted,
)
from hil.mutants_run import WORKERS, Bench, with_tests

MEMORY = ROOT / ".mutants.json"
"""What was found out in earlier runs, as long as the sources are the same."""
SOURCES = ("agent", "drivers", "hil")
OVERHEAD_S = 0.05
"""A fork and the first frames."""

Verdict = tuple[str, str] | None
"""(the test that noticed, how) or None."""


@cache
def _digest(path: str) -> str:
    """Of a file, or of all Python files under a directory but these here."""
    root = ROOT / path
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    own = [file for file in files if not file.name.startswith("mutants")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in own)).hexdigest()[:12]


def state_of(mutant: Mutant) -> str:
    """Of everything a verdict depends on."""
    tests = sorted({test.split("::")[0] for test in mutant.tests})
    parts = [_digest(path) for path in (*SOURCES, *tests)]
    words = [*parts, *sorted(mutant.tests), repr(replace(mutant, tests=()))]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


class Memory:
    """Verdicts of earlier runs, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def verdict(self, mutant: Mutant) -> tuple[bool, Verdict]:
        """(known, verdict)."""
        row = self._rows.get(mutant.key)
        if row is None or row["state"] != state_of(mutant):
            return False, None
        return True, tuple(row["noticed"]) if row["noticed"] else None

    def keep(self, mutant: Mutant, verdict: Verdict) -> None:
        self._rows[mutant.key] = {"state": state_of(mutant), "noticed": verdict}

    def write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._rows, indent=0))
        new.replace(self._path)


def chosen(mutants: list[Mutant], words: argparse.Namespace) -> list[Mutant]:
    """Of the blocks, cases and actions that were asked for."""
    found = mutants
    if words.block:
        found = [m for m in found if m.case_id.startswith(f"TC_{words.block.upper()}_")]
    if words.case:
        found = [m for m in found if m.case_id == words.case]
    if words.action:
        found = [m for m in found if m.message.startswith(words.action)]
    return found


def run(bench: Bench, words: argparse.Namespace) -> list[tuple[Mutant, Verdict]]:
    """What became of each mutant."""
    say(f"{len(bench.items)} tests run once as they are ...")
    recordings = bench.record(list(bench.items))
    validations = read_validations(words.validated)
    mutants = chosen(plan(recordings, validations), words)
    if words.unseen:
        for validation in unseen(recordings, validations):
            say(f"never seen: {validation.case_id}: {validation.message} {wanted(validation)}")
    memory = Memory(words.memory)
    verdicts: dict[str, Verdict] = {}
    for mutant in mutants:
        known, verdict = memory.verdict(mutant)
        if known:
            verdicts[mutant.key] = verdict
    new = [mutant for mutant in mutants if mutant.key not in verdicts]
    seconds = {recording.test: recording.seconds for recording in recordings}
    say(f"{len(mutants)} mutants, {len(verdicts)} known; {estimate(new, seconds)}")
    last = start = time.monotonic()
    for mutant, verdict in bench.attack(new, seconds):
        verdicts[mutant.key] = verdict
        memory.keep(mutant, verdict)
        if time.monotonic() - last > 5.0:
            last = time.monotonic()
            memory.write()
            missed = sum(found is None for found in verdicts.values())
            say(f"  {len(verdicts)} of {len(mutants)}, {missed} not noticed, {last - start:.0f} s")
    memory.write()
    return [(mutant, verdicts[mutant.key]) for mutant in mutants]


def estimate(mutants: list[Mutant], seconds: dict[str, float]) -> str:
    """Most mutants die in their first test; one in ten sees them all."""
    first = sum(seconds[m.tests[0]] + OVERHEAD_S for m in mutants)
    all_tests = sum(seconds[test] for m in mutants for test in m.tests)
    return f"about {(first + all_tests / 10) / WORKERS / 60:.1f} minutes to go"


def say(text: str) -> None:
    print(text, flush=True)


def report(verdicts: list[tuple[Mutant, Verdict]], explained: dict[str, str]) -> int:
    """The list, and 1 when an entry has no explanation."""
    missed = {mutant.key: mutant for mutant, verdict in verdicts if verdict is None}
    for key, mutant in sorted(missed.items()):
        reason = explained.get(key, f"NOT EXPLAINED, {len(mutant.tests)} tests")
        say(f"not noticed: {key} ({reason})")
    for key in sorted(set(explained) & {mutant.key for mutant, _ in verdicts} - set(missed)):
        say(f"noticed by now: {key}; take it out of {EXPLAINED.name}")
    made, killed = len(verdicts), len(verdicts) - len(missed)
    say(f"mutants: {made} made, {killed} killed, {len(missed)} not noticed")
    return 1 if set(missed) - set(explained) else 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hil.mutants", description=__doc__)
    parser.add_argument("--block", help="only the cases of one block, such as E")
    parser.add_argument("--case", help="only one case, such as TC_E_45_CS, or `any`")
    parser.add_argument("--action", help="only one action, such as TransactionEvent")
    parser.add_argument(
        "--unseen", action="store_true", help="also list validations that met no frame"
    )
    parser.add_argument("--memory", type=Path, default=MEMORY, help="the file of earlier verdicts")
    parser.add_argument("--validated", type=Path, default=VALIDATED, help="what cases validate")
    parser.add_argument("tests", nargs="*", default=["tests/conformance"])
    found = parser.parse_args(words)
    ended: list[list[tuple[Mutant, Verdict]]] = []
    with_tests(found.tests, lambda bench: ended.append(run(bench, found)))
    if not ended:
        say(f"no tests in {' '.join(found.tests)}; name a directory or a file of tests")
        return 2
    return report(ended[0], read_explained())


if __name__ == "__main__":
    sys.exit(main())
