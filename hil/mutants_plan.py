"""Which mutants are made: from what the cases validate, and from what the station sent in them."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hil.mutants_frames import Payload, Rule, as_text, other_value, rules, values

ROOT = Path(__file__).parent.parent
VALIDATED = ROOT / "tests/conformance/validated.csv"
EXPLAINED = ROOT / "tests/conformance/not_noticed.csv"

EVERY = "any"
"""The case of a mutant that only has to be noticed somewhere."""


class Field(Struct, frozen=True):
    """What a case validates of one field. Written `path`, `path=*` (present), `path=A|B` (`A|` also
    absent), `!path` (absent)."""

    path: str
    allowed: tuple[str, ...] = ()
    may_be_absent: bool = False
    must_be_absent: bool = False
    any_value: bool = False


class Validation(Struct, frozen=True):
    """One message as a case (or one of the standard's reusable states) wants it."""

    case_id: str
    message: str
    fields: tuple[Field, ...]


class Recording(Struct):
    """What happened in one test while nothing was wrong."""

    test: str
    case_id: str
    seconds: float
    sent: dict[str, list[Payload]]
    """Message -> payloads, in their order."""
    called: set[str]
    """Actions the CSMS called."""
    effective: set[str]
    """Those whose answer had consequences; and answers of the CSMS that had some."""


class Mutant(Struct, frozen=True):
    """One thing wrong with the station, and the tests that should notice it.

    kind: refused (NotSupported), idle (the right answer, no consequences), deaf (an answer of the
    CSMS has no consequences), unsent, twice, late
    (after the CALL that should follow it), other, removed, added.
    """

    case_id: str
    kind: str
    message: str
    path: str = ""
    where: tuple[Field, ...] = ()
    """Only frames like these."""
    value: Any = None
    """What is added."""
    tests: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names it, from run to run."""
        like = wanted(self)
        what = " ".join(part for part in (self.message, self.path, self.kind) if part)
        return f"{self.case_id}: {what}{f' where {like}' if like else ''}"


def field(text: str) -> Field:
    path, _, allowed = text.partition("=")
    words = tuple(word for word in allowed.split("|") if word)
    if allowed == "*":
        return Field(path, any_value=True)
    return Field(path.lstrip("!"), words, allowed.endswith("|"), path.startswith("!"))


def wanted(found: "Validation | Mutant") -> str:
    """The values that tell its frames from others."""
    fields = found.fields if isinstance(found, Validation) else found.where
    return " ".join(f"{f.path}={'|'.join(f.allowed)}" for f in fields if f.allowed)


def read_validations(path: Path = VALIDATED) -> list[Validation]:
    """The states a case goes through count as its own."""
    with path.open() as file:
        rows = [(row["case"], row["message"], row["fields"]) for row in csv.DictReader(file)]
    states: dict[str, list[tuple[str, str]]] = {}
    for case_id, message, fields in rows:
        if case_id.startswith("state "):
            states.setdefault(case_id.removeprefix("state "), []).append((message, fields))
    found = []
    for case_id, message, fields in rows:
        own = states.get(fields, []) if message == "state" else [(message, fields)]
        found += [Validation(case_id, m, tuple(map(field, f.split()))) for m, f in own]
    return found


def matches(payload: Payload, where: Iterable[Field]) -> bool:
    """Each field that is to have certain values has one of them."""
    for one in where:
        found = [as_text(value) for value in values(payload, one.path)]
        if one.must_be_absent or (not found and one.may_be_absent):
            continue
        if not found or (one.allowed and not set(found) & set(one.allowed)):
            return False
    return True


def plan(recordings: list[Recording], validations: list[Validation]) -> list[Mutant]:
    """All mutants, each once; tests that touch it, the fastest first."""
    by_speed = sorted(recordings, key=lambda recording: recording.seconds)
    samples = _samples(by_speed)
    found: dict[str, Mutant] = {}
    for mutant in [*_of_actions(by_speed), *_of_cases(by_speed, validations, samples)]:
        found.setdefault(mutant.key, mutant)
    return list(found.values())


def unseen(recordings: list[Recording], validations: list[Validation]) -> list[Validation]:
    """Those of tested cases that met no frame of their message, though there were some."""
    found = []
    for validation in validations:
        scope = [r for r in recordings if r.case_id == validation.case_id]
        is_sent = any(validation.message in r.sent for r in scope)
        if is_sent and not _touched(scope, validation.message, validation.fields):
            found.append(validation)
    return found


def _samples(recordings: list[Recording]) -> dict[tuple[str, str], Any]:
    """A value of each field that was ever sent, to add it where it must not be."""
    found: dict[tuple[str, str], Any] = {}
    for recording in recordings:
        for message, payloads in recording.sent.items():
            for name, value in ((n, v) for payload in payloads for n, v in payload.items()):
                found.setdefault((message, name), value)
    return found


def _of_actions(recordings: list[Recording]) -> Iterator[Mutant]:
    """Each handler disabled in two ways, each message never sent, sent twice or after the next."""
    called = sorted({action for recording in recordings for action in recording.called})
    for action in called:
        tests = tuple(r.test for r in recordings if action in r.called)
        yield Mutant(EVERY, "refused", f"{action}Request", tests=tests)
        tests = tuple(r.test for r in recordings if action in r.effective)
        if tests:
            yield Mutant(EVERY, "idle", f"{action}Request", tests=tests)
    for message in sorted({name for r in recordings for name in r.effective if is_answer(name)}):
        tests = tuple(r.test for r in recordings if message in r.effective)
        yield Mutant(EVERY, "deaf", message, tests=tests)
    sent = {message for recording in recordings for message in recording.sent}
    for message in sorted(name for name in sent if name.endswith("Request")):
        tests = tuple(r.test for r in recordings if message in r.sent)
        yield Mutant(EVERY, "unsent", message, tests=tests)
        yield Mutant(EVERY, "twice", message, tests=tests)
        yield Mutant(EVERY, "late", message, tests=tests)


def _of_cases(
    recordings: list[Recording],
    validations: list[Validation],
    samples: Mapping[tuple[str, str], Any],
) -> Iterator[Mutant]:
    for validation in validations:
        scope = _scope(recordings, validation.case_id)
        touched = _touched(scope, validation.message, validation.fields)
        if not touched:
            continue
        for mutant in _of_validation(validation, touched, samples):
            yield replace(mutant, tests=tuple(r.test for r in touched))
        action = validation.message.removesuffix("Response")
        effective = tuple(r.test for r in touched if action in r.effective)
        is_state = validation.case_id.startswith("state ")
        if action != validation.message and effective and not is_state:
            yield Mutant(validation.case_id, "idle", f"{action}Request", tests=effective)


def is_answer(name: str) -> bool:
    return name.endswith("Response")


def _scope(recordings: list[Recording], case_id: str) -> list[Recording]:
    if case_id.startswith("state "):
        return recordings
    return [recording for recording in recordings if recording.case_id == case_id]


def _touched(
    recordings: list[Recording], message: str, where: tuple[Field, ...]
) -> list[Recording]:
    return [
        recording
        for recording in recordings
        if any(matches(payload, where) for payload in recording.sent.get(message, ()))
    ]


def _of_validation(
    validation: Validation, touched: list[Recording], samples: Mapping[tuple[str, str], Any]
) -> Iterator[Mutant]:
    case_id, message, fields = validation.case_id, validation.message, validation.fields
    if message.endswith("Request"):
        yield Mutant(case_id, "unsent", message, where=fields)
    known = rules(message)
    for one in fields:
        rule = known[one.path]
        if one.must_be_absent:
            value = _to_add(message, one.path, samples)
            if value is not None:
                yield Mutant(case_id, "added", message, one.path, fields, value)
            continue
        if not one.may_be_absent and not rule.required:
            yield Mutant(case_id, "removed", message, one.path, fields)
        if not one.any_value and _can_differ(message, one, rule, fields, touched):
            yield Mutant(case_id, "other", message, one.path, fields)


def _to_add(message: str, path: str, samples: Mapping[tuple[str, str], Any]) -> Any:
    if path.endswith("tatusInfo"):
        return {"reasonCode": "Mutant"}
    return samples.get((message, path))


def _can_differ(
    message: str, one: Field, rule: Rule, fields: tuple[Field, ...], touched: list[Recording]
) -> bool:
    payloads = (p for r in touched for p in r.sent[message] if matches(p, fields))
    found = (value for payload in payloads for value in values(payload, one.path))
    return any(other_value(value, rule, one.allowed) != value for value in found)


def read_explained(path: Path = EXPLAINED) -> dict[str, str]:
    """Mutant's key -> why it is right that nobody notices it."""
    with path.open() as file:
        return {row["mutant"]: row["reason"] for row in csv.DictReader(file)}
