"""YAML text as a tree of scalar texts with their places; a text's looks decide nothing."""

from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct

MAX_DEPTH = 20
MAX_BYTES = 262_144

STEPS = {
    "mapping values are not allowed": "a text with `: ` in it needs quotes around it; else look at "
    "the indent of this line and the one above",
    "cannot start any token": "put quotes around a value that begins with such a sign",
    "could not find expected ':'": "write a colon and a space behind each key, look at the line "
    "above, too",
    "expected '-' indicator": "give this line the same indent as the other keys of its entry",
}
"""What mends it, by the parser's words."""
ANY_STEP = (
    "look on this line and the one above for a missing colon, an open quote or a wrong indent"
)


class Mark(Struct, frozen=True):
    """A place in the file; both count from 1."""

    line: int
    column: int


TOP = Mark(1, 1)


class Scalar(Struct, frozen=True):
    """One value as it is written; `plain` when it stands without quotes."""

    mark: Mark
    text: str
    plain: bool


class Sequence(Struct, frozen=True):
    mark: Mark
    items: "tuple[Node, ...]"


class Mapping(Struct, frozen=True):
    """Keys in the order of the file, repeated ones included."""

    mark: Mark
    items: "tuple[tuple[Scalar, Node], ...]"


Node = Scalar | Sequence | Mapping


class UnusableText(Exception):
    """The text is no tree that can be read; the message ends with the next step."""

    def __init__(self, mark: Mark, text: str) -> None:
        super().__init__(text)
        self.mark = mark


def decode(raw: bytes) -> str:
    """The file's bytes as text; raises UnusableText when they are not UTF-8."""
    if len(raw) > MAX_BYTES:
        raise UnusableText(
            TOP,
            f"the file has {len(raw)} bytes, at most {MAX_BYTES} are read; "
            "this is probably not charger.yaml, give the right file",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        mark = Mark(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        raise UnusableText(
            mark,
            f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8 in the editor",
        ) from None


def compose(text: str) -> Node | None:
    """The one document of `text` as a tree, None when there is none; raises UnusableText."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _document(iter(yaml.parse(text, Loader=loader)))
    except yaml.MarkedYAMLError as error:
        raise _marked(text, error) from None
    except yaml.reader.ReaderError as error:
        raise UnusableText(
            _unprintable(text),
            f"character {error.character!r} is not allowed in YAML; delete it",
        ) from None


def _document(events: Iterator[Any]) -> Node | None:
    root: Node | None = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise UnusableText(
                    _mark(event),
                    "a second document starts here; keep one document and remove this '---'",
                )
        elif isinstance(event, yaml.NodeEvent):
            root = _node(events, event, 1)
    return None if isinstance(root, Scalar) and root.plain and not root.text else root


def _node(events: Iterator[Any], event: Any, depth: int) -> Node:
    mark = _mark(event)
    if isinstance(event, yaml.AliasEvent):
        raise UnusableText(
            mark, f"aliases (*{event.anchor}) are not used in this file; write the value out here"
        )
    if depth > MAX_DEPTH:
        raise UnusableText(
            mark, f"nested deeper than {MAX_DEPTH} levels; remove the surplus brackets or indents"
        )
    if event.tag is not None:
        raise UnusableText(
            mark, f"tags ({event.tag}) are not used in this file; remove it, keep the value"
        )
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(mark, event.value, event.style is None or event.style == "")
    if isinstance(event, yaml.SequenceStartEvent):
        return Sequence(mark, tuple(_sequence(events, depth)))
    return Mapping(mark, tuple(_mapping(events, depth)))


def _sequence(events: Iterator[Any], depth: int) -> Iterator[Node]:
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            return
        yield _node(events, event, depth + 1)


def _mapping(events: Iterator[Any], depth: int) -> Iterator[tuple[Scalar, Node]]:
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            return
        key = _node(events, event, depth + 1)
        if not isinstance(key, Scalar):
            raise UnusableText(
                key.mark, "a key must be a single word; write `name: value` on a line of its own"
            )
        yield key, _node(events, next(events), depth + 1)


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _marked(text: str, error: yaml.MarkedYAMLError) -> UnusableText:
    """A syntax error in our words where the cause is plain, otherwise in the parser's."""
    tab = _tab_in_indent(text)
    if tab is not None:
        return UnusableText(tab, "a tab in the indentation; YAML indents with spaces, replace it")
    quote = _open_quote(text)
    if quote is not None:
        return UnusableText(
            quote, "a quote opens here and is not closed on this line; close it, with the same sign"
        )
    at = error.problem_mark or error.context_mark
    mark = TOP if at is None else Mark(at.line + 1, at.column + 1)
    said = " ".join(part for part in (error.context, error.problem) if part)
    if error.context_mark is not None and error.context_mark.line + 1 != mark.line:
        said += f", begun on line {error.context_mark.line + 1}"
    step = next((step for words, step in STEPS.items() if words in said), ANY_STEP)
    return UnusableText(mark, f"not valid YAML ({said}); {step}")


def _open_quote(text: str) -> Mark | None:
    """Where a text in quotes begins that ends on a later line, or never: what follows it up to the
    next quote is swallowed, and the parser complains only there."""
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            is_quoted = isinstance(token, yaml.ScalarToken) and token.style in ("'", '"')
            if is_quoted and token.start_mark.line != token.end_mark.line:
                return _mark(token)
    except yaml.MarkedYAMLError as error:
        if error.context_mark is not None and "quoted scalar" in str(error.context):
            return Mark(error.context_mark.line + 1, error.context_mark.column + 1)
    return None


def _tab_in_indent(text: str) -> Mark | None:
    for number, line in enumerate(text.splitlines(), 1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent and line.strip() and not line.lstrip().startswith("#"):
            return Mark(number, indent.index("\t") + 1)
    return None


def _unprintable(text: str) -> Mark:
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            if yaml.reader.Reader.NON_PRINTABLE.match(character):
                return Mark(number, column)
    return TOP
