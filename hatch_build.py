"""Build hook: turns the OCPP JSON schemas of the `ocpp` package into plain Python validators.

The board then needs neither `ocpp` nor a schema library. `python hatch_build.py` does the same in
place for a checkout that is not installed. A build also notes its day, for certificates.
"""

import ast
import hashlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:
    BuildHookInterface = object

TARGET = "agent/ocpp/schemas"
BUILD_DATE = "agent/csms/build_date"
"""The day of the build: no certificate is checked as of an earlier one."""

DATE_TIME = (
    r"^(?!0000)(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
    r"[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?\Z"
)
"""RFC 3339, but the zone may be missing: some back ends leave it out."""

NOT_NEEDED = frozenset({"$schema", "comment", "default", "description", "javaType"})


def slim(node: Any, holds_names: bool = False) -> Any:
    """The schema without texts, and without object rules on enums, where they mean nothing."""
    if isinstance(node, list):
        return [slim(item) for item in node]
    if not isinstance(node, dict):
        return node
    if holds_names:
        return {name: slim(value) for name, value in node.items()}
    return {
        key: slim(value, key in ("properties", "definitions"))
        for key, value in node.items()
        if key not in NOT_NEEDED
        and not (key == "additionalProperties" and node.get("type") == "string")
    }


class Rewrite(ast.NodeTransformer):
    """Cuts the generated code loose from its generator, and lets unknown fields be noted."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        if node.module != "fastjsonschema":
            return None
        names = [ast.alias(name="SchemaError"), ast.alias(name="unknown_fields")]
        return ast.ImportFrom(module="agent.ocpp.schema_error", names=names, level=0)

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "JsonSchemaValueException":
            node.func.id = "SchemaError"
            node.keywords = [word for word in node.keywords if word.arg == "rule"]
        return node

    def visit_If(self, node: ast.If) -> ast.If:
        """`if data_keys: raise ...additionalProperties` becomes a call of `unknown_fields`."""
        first = node.body[0]
        call = first.exc if isinstance(first, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(node.test, ast.Name):
            words = {word.arg: word.value for word in call.keywords}
            rule = words.get("rule")
            if isinstance(rule, ast.Constant) and rule.value == "additionalProperties":
                arguments = [ast.Name("noted", ast.Load()), words["name"], node.test]
                function = ast.Name("unknown_fields", ast.Load())
                node.body = [ast.Expr(ast.Call(func=function, args=arguments, keywords=[]))]
        self.generic_visit(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = "noted" if node.arg == "custom_formats" else node.arg
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        self.generic_visit(node)
        node.defaults = [
            ast.Constant(None) if isinstance(default, ast.Dict) else default
            for default in node.defaults
        ]
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = "noted" if node.id == "custom_formats" else node.id
        return node


def validator_source(schema: dict[str, Any]) -> str:
    """Python source of `validate(data, noted=None)` for one schema.

    With a list in `noted`, unknown fields are written there instead of refused.
    """
    import fastjsonschema

    code = fastjsonschema.compile_to_code(
        slim(schema), use_default=False, formats={"date-time": DATE_TIME}
    )
    tree = Rewrite().visit(ast.parse(code))
    source = ast.unparse(ast.fix_missing_locations(tree))
    if "Decimal" in source and "import Decimal" not in source:
        source = f"from decimal import Decimal\n{source}"  # multipleOf uses it unimported
    if "fastjsonschema" in source or "custom_formats" in source:
        raise RuntimeError("fastjsonschema generates other code now: adapt Rewrite in hatch_build")
    return source + "\n"


def stamp() -> str:
    """Changes whenever the generated code would."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return f"ocpp {version('ocpp')}, fastjsonschema {version('fastjsonschema')}, hook {own}"


def generate(root: Path) -> int:
    """Write all validators below `root`; returns how many, 0 when they are up to date."""
    target = root / TARGET
    marker = target / "__init__.py"
    head = f'"""Generated by hatch_build.py from {stamp()}."""\n'
    if marker.exists() and marker.read_text(encoding="utf-8") == head:
        return 0
    found = find_spec("ocpp")
    if found is None or found.origin is None:
        raise RuntimeError("the package `ocpp` is not installed: it carries the JSON schemas")
    schemas = sorted((Path(found.origin).parent / "v201" / "schemas").glob("*.json"))
    target.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    for old in target.glob("*.py"):
        old.unlink()
    for path in schemas:
        source = validator_source(json.loads(path.read_text(encoding="utf-8-sig")))
        (target / f"{path.stem}.py").write_text(source, encoding="utf-8")
    marker.write_text(head, encoding="utf-8")
    return len(schemas)


def write_build_date(root: Path) -> None:
    """The UTC day, or that of SOURCE_DATE_EPOCH, so that a build can be repeated."""
    built_s = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    day = datetime.fromtimestamp(built_s, UTC).date().isoformat()
    (root / BUILD_DATE).write_text(f"{day}\n", encoding="utf-8")


class SchemaBuildHook(BuildHookInterface):  # type: ignore[misc, valid-type, unused-ignore]
    """Runs before every wheel, editable or not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate(Path(self.root))
        write_build_date(Path(self.root))
        build_data["artifacts"].append(f"/{BUILD_DATE}")


if __name__ == "__main__":
    written = generate(Path(__file__).parent)
    print(f"{written} validators written to {TARGET}" if written else "validators are up to date")
    sys.exit(0)
