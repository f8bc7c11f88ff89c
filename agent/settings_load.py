"""Reads charger.yaml for `check` and `run`: all mistakes at once, each with place and fix."""

from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

from msgspec import Struct, ValidationError, inspect

from agent.settings import Settings
from agent.settings_finding import Finding
from agent.settings_nodes import TOP, UnusableText, compose, decode
from agent.settings_rules import findings
from agent.settings_walk import Mistake, Walk, convert, dotted

__all__ = ["Loaded", "Mistake", "load", "read"]

Rule = Callable[[Settings], Iterator[Finding]]
"""Walks settings that may have holes (UNSET)."""


class Loaded(Struct, frozen=True):
    """What came of a file; `settings` is None exactly when there are mistakes."""

    settings: Settings | None
    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]


def load(path: str, rule: Rule = findings) -> Loaded:
    """Reads and checks the file at `path`, by the rules that a start needs or by more; never raises
    for its content or its absence."""
    try:
        raw = FilePath(path).read_bytes()
    except FileNotFoundError:
        return _unusable(path, "there is no such file; check the path")
    except IsADirectoryError:
        return _unusable(path, "this is a directory; give the path of charger.yaml in it")
    except OSError as error:
        said = error.strerror or str(error)
        return _unusable(path, f"cannot be read ({said}); check its owner and mode (ls -l)")
    except ValueError:
        return _unusable(path, "is not a usable path; check the path")
    return read(raw, path, rule)


def read(raw: bytes, file: str, rule: Rule = findings) -> Loaded:
    """Like `load`, of bytes; `file` only names them in messages."""
    try:
        root = compose(decode(raw))
    except UnusableText as error:
        return Loaded(None, (Mistake(file, error.mark, "", str(error)),), ())
    if root is None:
        return _unusable(file, "the file is empty; start from config/examples")
    walk = Walk(file)
    settings = walk.value(root, inspect.type_info(Settings), ())
    warnings: list[Mistake] = []
    if isinstance(settings, Settings):
        _apply_rules(walk, settings, rule, warnings)
    if not walk.mistakes:
        _confirm(walk, settings)
    return Loaded(
        None if walk.mistakes else settings,
        tuple(sorted(walk.mistakes, key=_place)),
        tuple(sorted(warnings, key=_place)),
    )


def _apply_rules(walk: Walk, settings: Settings, rule: Rule, warnings: list[Mistake]) -> None:
    for finding in rule(settings):
        if finding.fatal:
            walk.wrong(finding.path, finding.text)
        else:
            mark = walk.mark(finding.path)
            warnings.append(Mistake(walk.file, mark, dotted(finding.path), finding.text))


def _confirm(walk: Walk, settings: Any) -> None:
    """msgspec's own check: nothing it would refuse passes only because our words missed it."""
    try:
        convert(settings, Settings)
    except ValidationError as error:
        walk.wrong((), f"{error}; correct the value")


def _place(mistake: Mistake) -> tuple[int, int, str]:
    return mistake.mark.line, mistake.mark.column, mistake.path


def _unusable(file: str, text: str) -> Loaded:
    return Loaded(None, (Mistake(file, TOP, "", text),), ())
