"""From the tree of texts to typed settings: each key's type decides how its text is read."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Struct, inspect

from agent.settings_nodes import TOP, Mapping, Mark, Node, Scalar, Sequence

Path = tuple[str | int, ...]
Shape = inspect.Type

YES = {"on", "yes", "true"}
NO = {"off", "no", "false"}
TYPOGRAPHIC = tuple("\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb")
"""Quotes that word processors and telephones write; to YAML they are letters."""
NOTHING = {"", "~", "null"}
WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
HEX = re.compile(r"0x[0-9A-Fa-f]{1,16}")
DECIMAL = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?")

PATTERN_WORDS = {
    "^[^:]*$": "must not contain a colon",
    "^wss?://[^/]+": "must begin with wss:// (or ws://) and a host name",
    "^[A-Za-z0-9_.-]{1,50}$": "may hold 1 to 50 letters, digits and _ . - only",
}


class Mistake(Struct, frozen=True, order=True):
    """What is wrong at one place of the file, and what to do."""

    file: str
    mark: Mark
    path: str
    """Key by key, for example evses[0].meter; empty for the file as a whole."""
    text: str

    def told(self, kind: str = "") -> str:
        """One line in the form editors can jump to; `kind` (say warning) stands after the place."""
        parts = (f"{self.file}:{self.mark.line}:{self.mark.column}", kind, self.path, self.text)
        return ": ".join(part for part in parts if part)

    def __str__(self) -> str:
        return self.told()


def dotted(path: Path) -> str:
    """('evses', 0, 'meter') as evses[0].meter."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The likeliest of `choices`, empty when none is near."""
    import difflib  # only a mistake needs it

    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""


def advice(word: str, choices: Iterable[str]) -> str:
    """`did you mean ...?`, or all that may stand here."""
    choices = list(choices)
    near = did_you_mean(word, choices)
    if near:
        return f"did you mean {near!r}?"
    return f"expected one of: {', '.join(choices)}" if choices else "there is none yet, add it"


def _place(path: Path) -> str:
    return f"under {dotted(path)!r}" if path else "at the top level"


class Walk:
    """Builds a value of a msgspec type; where the text does not fit, UNSET stands in its place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.marks: dict[Path, Mark] = {(): TOP}

    def mark(self, path: Path) -> Mark:
        """Where `path` stands, or the nearest parent that does."""
        while path not in self.marks:
            path = path[:-1]
        return self.marks[path]

    def wrong(self, path: Path, text: str, mark: Mark | None = None) -> Any:
        """Notes a mistake; answers UNSET so that callers can return it."""
        mark = self.mark(path) if mark is None else mark
        self.mistakes.append(Mistake(self.file, mark, dotted(path), text))
        return UNSET

    def value(self, node: Node, shape: Shape, path: Path) -> Any:
        """The typed value of `node`; UNSET after a mistake."""
        self.marks.setdefault(path, node.mark)
        if isinstance(shape, inspect.UnionType):
            return self._union(node, shape, path)
        if isinstance(shape, inspect.StructType):
            return self._struct(node, shape, path)
        if isinstance(shape, inspect.DictType):
            return self._dict(node, shape, path)
        if isinstance(shape, inspect.VarTupleType):
            return self._list(node, shape, path)
        if not isinstance(node, Scalar):
            kind = "a list" if isinstance(node, Sequence) else "a block of keys"
            return self.wrong(path, f"is {kind}, expected {words(shape)}; write one value here")
        if node.plain and not node.text:
            return self.wrong(
                path, f"is empty, expected {words(shape)}; write a value or remove the key"
            )
        return self._scalar(node.text, shape, path)

    def _union(self, node: Node, shape: inspect.UnionType, path: Path) -> Any:
        choices = [one for one in shape.types if not isinstance(one, inspect.NoneType)]
        optional = len(choices) < len(shape.types)
        if optional and isinstance(node, Scalar) and node.plain and node.text.lower() in NOTHING:
            return None
        if len(choices) == 1:
            return self.value(node, choices[0], path)
        tagged = {str(one.tag): one for one in choices if isinstance(one, inspect.StructType)}
        tag_field = str(next(iter(tagged.values())).tag_field)
        if not isinstance(node, Mapping):
            return self._not_a_block(path, [tag_field])
        tag = next((v for k, v in node.items if k.text == tag_field), None)
        if tag is None:
            names = ", ".join(tagged)
            return self.wrong(path, f"key {tag_field!r} is missing; add it, one of: {names}")
        text = tag.text if isinstance(tag, Scalar) else ""
        if text not in tagged:
            return self.wrong(
                (*path, tag_field),
                f"there is no {tag_field} {_shown(path, text)}; {advice(text, tagged)}",
                tag.mark,
            )
        return self._struct(node, tagged[text], path)

    def _struct(self, node: Node, shape: inspect.StructType, path: Path) -> Any:
        fields = {field.encode_name: field for field in shape.fields}
        if isinstance(node, Scalar) and node.plain and node.text in NOTHING:
            node = Mapping(node.mark, ())
        if not isinstance(node, Mapping):
            return self._not_a_block(path, fields)
        known = [*fields, shape.tag_field] if shape.tag_field else list(fields)
        meant: set[str] = set()
        values: dict[str, Any] = {}
        for key, child in self._keys(node, path):
            if key.text in fields:
                field = fields[key.text]
                values[field.name] = self.value(child, field.type, (*path, key.text))
            elif key.text != shape.tag_field:
                near = did_you_mean(key.text, known)
                meant.add(near)
                self.wrong((*path, key.text), _unknown_key(key.text, known), key.mark)
        for field in shape.fields:
            if field.required and field.name not in values:
                values[field.name] = UNSET
                if field.encode_name not in meant:
                    self.wrong(
                        (*path, field.encode_name),
                        f"is missing; add it {_place(path)}: {words(field.type)}",
                        self.mark(path),
                    )
        return self.built(shape, values)

    def built(self, shape: inspect.StructType, values: dict[str, Any]) -> Any:
        """What becomes of a block; where UNSET is among its values, one with holes."""
        return shape.cls(**values)

    def _dict(self, node: Node, shape: inspect.DictType, path: Path) -> Any:
        if isinstance(node, Scalar) and node.plain and node.text in NOTHING:
            return {}
        if not isinstance(node, Mapping):
            return self._not_a_block(path, ["name"])
        keys = shape.key_type
        names = [*map(str, keys.values)] if isinstance(keys, inspect.LiteralType) else None
        found = {}
        for key, child in self._keys(node, path):
            if names is not None and key.text not in names:
                self.wrong((*path, key.text), _unknown_key(key.text, names), key.mark)
                continue
            found[key.text] = self.value(child, shape.value_type, (*path, key.text))
        return found

    def _keys(self, node: Mapping, path: Path) -> Iterable[tuple[Scalar, Node]]:
        """The entries of a block, each key once; a repeated one is a mistake."""
        first: dict[str, Scalar] = {}
        for key, child in node.items:
            if key.text in first:
                self.wrong(
                    (*path, key.text),
                    f"stands here a second time (first on line {first[key.text].mark.line}); "
                    "remove one of the two",
                    key.mark,
                )
                continue
            first[key.text] = key
            self.marks[(*path, key.text)] = child.mark if isinstance(child, Scalar) else key.mark
            yield key, child

    def _list(self, node: Node, shape: inspect.VarTupleType, path: Path) -> Any:
        if isinstance(node, Scalar) and node.plain and node.text in NOTHING:
            node = Sequence(node.mark, ())
        if not isinstance(node, Sequence):
            return self.wrong(
                path, "is not a list; begin each entry with '- ', also when there is only one"
            )
        count = len(node.items)
        if shape.min_length is not None and count < shape.min_length:
            return self.wrong(
                path, f"has {count} entries, at least {shape.min_length} is needed; add one"
            )
        if shape.max_length is not None and count > shape.max_length:
            return self.wrong(
                path, f"has {count} entries, at most {shape.max_length} fit; remove some"
            )
        return tuple(
            self.value(child, shape.item_type, (*path, index))
            for index, child in enumerate(node.items)
        )

    def _not_a_block(self, path: Path, keys: Iterable[str]) -> Any:
        example = ", ".join(keys)
        return self.wrong(
            path, f"is not a block of keys; write one indented `key: value` a line ({example})"
        )

    def _scalar(self, text: str, shape: Shape, path: Path) -> Any:
        if isinstance(shape, inspect.StrType):
            return self._text(text, shape, path)
        if isinstance(shape, inspect.IntType | inspect.FloatType):
            return self._number(text, shape, path)
        if isinstance(shape, inspect.BoolType):
            if text.lower() in YES | NO:
                return text.lower() in YES
            return self.wrong(path, f"is {_shown(path, text)}; write true or false")
        if isinstance(shape, inspect.LiteralType):
            for choice in shape.values:
                whole = isinstance(choice, int) and WHOLE.fullmatch(text)
                if text == choice or (whole and int(text) == choice):
                    return choice
            choices = [str(choice) for choice in shape.values]
            return self.wrong(path, f"is {_shown(path, text)}; {advice(text, choices)}")
        raise TypeError(f"no reader for {shape!r} at {dotted(path)}; teach settings_walk this type")

    def _text(self, text: str, shape: inspect.StrType, path: Path) -> Any:
        count = len(text)
        if text[:1] in TYPOGRAPHIC:
            return self.wrong(path, f'begins with {text[0]}; write a straight quote (") or none')
        if shape.min_length is not None and count < shape.min_length:
            return self.wrong(
                path,
                f"has {count} characters, expected at least {shape.min_length}; lengthen it, "
                "and put quotes around it if there is a # in it",
            )
        if shape.max_length is not None and count > shape.max_length:
            return self.wrong(
                path, f"has {count} characters, expected at most {shape.max_length}; shorten it"
            )
        if shape.pattern is not None and not re.search(shape.pattern, text):
            rule = PATTERN_WORDS.get(shape.pattern, f"must match the pattern {shape.pattern}")
            return self.wrong(path, f"is {_shown(path, text)}, but it {rule}; correct it")
        return text

    def _number(self, text: str, shape: inspect.IntType | inspect.FloatType, path: Path) -> Any:
        whole = isinstance(shape, inspect.IntType)
        if whole and HEX.fullmatch(text):
            return self._bounded(int(text, 16), text, shape, path)
        if not (WHOLE if whole else DECIMAL).fullmatch(text):
            return self.wrong(
                path, f"is {_shown(path, text)}, expected {words(shape)}; {_number_help(text)}"
            )
        number: int | float = int(text) if whole else float(text)
        return self._bounded(number, text, shape, path)

    def _bounded(
        self, number: float, text: str, shape: inspect.IntType | inspect.FloatType, path: Path
    ) -> Any:
        if shape.gt is not None and number <= shape.gt:
            return self.wrong(path, f"is {text}, expected more than {shape.gt:g}; raise it")
        if shape.ge is not None and number < shape.ge:
            return self.wrong(path, f"is {text}, expected {words(shape)}; raise it")
        if shape.le is not None and number > shape.le:
            return self.wrong(path, f"is {text}, expected {words(shape)}; lower it")
        return number


def words(shape: Shape) -> str:
    """What a value of this type looks like, for a human."""
    if isinstance(shape, inspect.UnionType):
        named = [one for one in shape.types if not isinstance(one, inspect.NoneType)]
        return words(named[0])
    if isinstance(shape, inspect.StrType):
        least, most = shape.min_length, shape.max_length
        if least is not None and most is not None:
            return f"text of {least} to {most} characters"
        return f"text of at most {most} characters" if most is not None else "text"
    if isinstance(shape, inspect.IntType | inspect.FloatType):
        kind = "a whole number" if isinstance(shape, inspect.IntType) else "a number"
        if shape.ge is not None and shape.le is not None:
            return f"{kind} from {shape.ge} to {shape.le}"
        return kind
    if isinstance(shape, inspect.LiteralType):
        return "one of: " + ", ".join(str(value) for value in shape.values)
    if isinstance(shape, inspect.BoolType):
        return "true or false"
    if isinstance(shape, inspect.VarTupleType):
        return "a list, each entry begun with '- '"
    if isinstance(shape, inspect.StructType):
        return "a block with the keys " + ", ".join(field.encode_name for field in shape.fields)
    return "a block of names"


def _unknown_key(key: str, known: Iterable[str]) -> str:
    if key == "<<":
        return "merge keys are not used in this file; write the keys out here"
    return f"unknown key; {advice(key, known)}{'' if did_you_mean(key, known) else '; remove it'}"


def _number_help(text: str) -> str:
    if "," in text:
        return "use a point, not a comma"
    if "_" in text:
        return "write the digits without _"
    if re.fullmatch("[0-9A-Fa-f]+[hH]", text):
        return f"write it as 0x{text[:-1]}"
    if re.match(r"[+-]?[0-9.]+\s*[A-Za-z%]+$", text):
        return "write the digits only, the unit is part of the key's name"
    return "write digits"


def _shown(path: Path, text: str) -> str:
    """A value as the file has it, shortened; what may be a secret is never shown."""
    if "password" in str(path[-1] if path else ""):
        return "a value (not shown)"
    text = re.sub("//[^/@]*@", "//...@", text)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def convert(values: Any, kind: type) -> Any:
    """The last word on whole values: msgspec's own check; raises msgspec.ValidationError."""
    return msgspec.convert(msgspec.to_builtins(values), kind)
