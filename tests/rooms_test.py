"""Who may import whom. The table is the architecture; an arrow that is not in it is a bug."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = ("agent.core", "agent.ocpp")
FORBIDDEN_IN_PURE = {"asyncio", "socket", "os", "time", "random", "logging", "sqlite3", "threading"}
DRIVER_FAMILIES = ("drivers.meters", "drivers.pilots", "drivers.gpio", "drivers.readers")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "drivers.contract": (),
    "drivers.bus": ("drivers.contract",),
    **dict.fromkeys(DRIVER_FAMILIES, ("drivers.contract", "drivers.bus")),
    "drivers.sim": ("drivers.contract",),
    "drivers.registry": ("drivers.contract", "drivers.bus", *DRIVER_FAMILIES),
    "agent.errors": ("drivers.contract",),
    "agent.log": ("drivers.contract",),
    "agent.settings": ("drivers.contract", "drivers.registry"),
    "agent.settings_load": (
        "agent.settings",
        "drivers.contract",
        "drivers.registry",
        "drivers.bus.place",
    ),
    "agent.core": ("drivers.contract",),
    "agent.ocpp": ("agent.core", "drivers.contract"),
    "agent.store": (),
    "agent.csms": ("agent.ocpp", "agent.core.events", "agent.core.effects"),
    "agent.jobs": ("agent.core.events", "agent.core.effects", "agent.core.jobs"),
    "agent.guard": ("drivers.contract",),
    "agent.runtime": (
        "agent.core",
        "agent.ocpp",
        "agent.store",
        "agent.guard",
        "drivers.contract",
    ),
    "agent.health": ("drivers.contract",),
    "agent.console": ("drivers.contract",),
    "agent.devices": ("agent.settings", "drivers.contract", "drivers.registry"),
    "agent.screen": (),
    "agent.probe": (
        "agent.console",
        "agent.devices",
        "agent.screen",
        "agent.settings",
        "agent.settings_load",
        "drivers.contract",
        "drivers.registry",
    ),
    "agent.learn": (
        "agent.console",
        "agent.devices",
        "agent.probe",
        "agent.settings",
        "drivers.bus.tap",
        "drivers.contract",
        "drivers.reader_options",
        "drivers.readers.uid",
        "drivers.registry",
    ),
    "agent.check": (
        "agent.app",
        "agent.devices",
        "agent.ocpp",
        "agent.settings",
        "agent.settings_load",
        "drivers.contract",
        "drivers.meters.register_map",
    ),
    "agent.trace": ("agent.console", "agent.probe", "agent.settings"),
    "agent.doctor": (
        "agent.check",
        "agent.clock",
        "agent.console",
        "agent.core.effects",
        "agent.credentials",
        "agent.csms",
        "agent.local_limit",
        "agent.ocpp.certificates",
        "agent.ocpp.network",
        "agent.ocpp.passwords",
        "agent.ocpp.station_certificate",
        "agent.settings",
        "agent.settings_load",
        "agent.store",
        "drivers.contract",
    ),
    "agent.app": ("agent", "drivers"),
    "agent.cli": (
        "agent.app",
        "agent.queue_export",
        "agent.settings",
        "agent.settings_load",
        "agent.console",
        "agent.screen",
        "drivers.contract",
    ),
    "hil": (
        "agent",
        "drivers.sim",
        "drivers.contract",
        "drivers.meters.register_map",
        "drivers.meters.coding",
        "drivers.registry",
        "drivers.gpio",
    ),
}
"""Room -> rooms it may import, beside itself. `agent.errors` and `agent.log` are everybody's in
`agent` but the store's and the guard's."""

BELONGS_TO = {
    "drivers.gpio_options": "drivers.contract",
    "drivers.pilot_options": "drivers.contract",
    "drivers.reader_options": "drivers.contract",
    "agent.wiring": "agent.app",
    "agent.alarm": "agent.runtime",
    "agent.asking": "agent.runtime",
    "agent.batches": "agent.runtime",
    "agent.station_clock": "agent.runtime",
    "agent.boot": "agent.app",
    "agent.file_facts": "agent.app",
    "agent.frame_trace": "agent.app",
    "agent.line_trace": "agent.app",
    "agent.lamps": "agent.app",
    "agent.station_inputs": "agent.app",
    "agent.clock": "agent.app",
    "agent.daemon": "agent.app",
    "agent.pure_rooms": "agent.app",
    "agent.credentials": "agent.app",
    "agent.slow_work": "agent.app",
    "agent.status": "agent.app",
    "agent.queue_export": "agent.app",
    "agent.queue_summary": "agent.app",
    "agent.scarcity": "agent.app",
    "agent.safe_off": "agent.app",
    "agent.service": "agent.app",
    "agent.local_limit": "agent.app",
    "agent.settings_schema": "agent.settings_load",
    "agent.settings_nodes": "agent.settings_load",
    "agent.settings_csms": "agent.settings_load",
    "agent.settings_devices": "agent.settings_load",
    "agent.settings_finding": "agent.settings_load",
    "agent.settings_gpio": "agent.settings_load",
    "agent.settings_rules": "agent.settings_load",
    "agent.settings_walk": "agent.settings_load",
    "agent.status_table": "agent.cli",
    "agent.check_built": "agent.check",
    "agent.doctor_board": "agent.doctor",
    "agent.doctor_finding": "agent.doctor",
    "agent.doctor_gpio": "agent.doctor",
    "agent.doctor_kept": "agent.doctor",
    "agent.doctor_limit": "agent.doctor",
    "agent.doctor_network": "agent.doctor",
    "agent.doctor_ports": "agent.doctor",
    "agent.probe_judge": "agent.probe",
    "agent.probe_text": "agent.probe",
    "agent.probe_watch": "agent.probe",
}
"""Files that are part of a room beside them."""

COMMANDS = ("agent.cli", "agent.check", "agent.doctor", "agent.learn", "agent.probe", "agent.trace")
"""Beside the daemon: it never loads them."""

NOT_FOR_HIL = ("agent.core.station", "agent.core.evse", "agent.core.authorization", "agent.guard")


def modules() -> dict[str, Path]:
    found = {}
    for top in ("agent", "drivers", "hil"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if "schemas" in path.parts:
                continue
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports_of(path: Path) -> list[tuple[str, int, bool]]:
    """(module, line, at module level and not only for type checking)."""
    tree = ast.parse(path.read_text())
    typing_only: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only |= {id(child) for child in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            names = [
                f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names
            ]
        found += [(name, node.lineno, id(node) not in typing_only) for name in names]
    return found


def room_of(module: str) -> str:
    module = BELONGS_TO.get(module, module)
    rooms = [room for room in MAY_IMPORT if module == room or module.startswith(room + ".")]
    return max(rooms, key=len, default="")


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def is_allowed(importer: str, imported: str) -> bool:
    room = room_of(importer)
    if room_of(imported) == room and room != "":
        return True
    if imported in ("agent", "drivers", "hil"):
        return True
    deaf = room in ("agent.store", "agent.guard")
    common = imported in ("agent.errors", "agent.log") and not deaf
    if common and importer.startswith(("agent.", "hil")):
        return True
    if room == "agent.app" and room_of(imported) in COMMANDS:
        return False
    if room == "hil" and imported in NOT_FOR_HIL:
        return False
    home = BELONGS_TO.get(imported, imported)
    return any(within(name, allowed) for name in (imported, home) for allowed in MAY_IMPORT[room])


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("agent", "drivers", "hil")])
def test_a_room_imports_only_what_the_table_allows(module: str) -> None:
    assert room_of(module), f"{module} stands in no room; give it one in MAY_IMPORT or BELONGS_TO"
    ours = ("agent", "drivers", "hil")
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {imported}"
        for imported, line, _ in imports_of(MODULES[module])
        if imported.split(".")[0] in ours and not is_allowed(module, imported)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(PURE)])
def test_a_pure_room_does_no_io(module: str) -> None:
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {imported}"
        for imported, line, _ in imports_of(MODULES[module])
        if imported.split(".")[0] in FORBIDDEN_IN_PURE
    ]
    assert not wrong, "\n".join(wrong)


def test_blocks_never_import_each_other() -> None:
    wrong = []
    prefix = "agent.ocpp.blocks."
    for module, path in MODULES.items():
        if not module.startswith(prefix):
            continue
        own = module.removeprefix(prefix).split(".")[0]
        for imported, line, _ in imports_of(path):
            if imported.startswith(prefix) and imported.removeprefix(prefix).split(".")[0] != own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_circle() -> None:
    edges = {
        module: {name for name, _, at_run_time in imports_of(path) if at_run_time}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module in done:
            return
        for name in edges.get(module, ()):
            if name in MODULES and name != module:
                walk(name, (*trail, module))
        done.add(module)

    for module in edges:
        walk(module, ())


def test_each_decision_has_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    numbers = [name.partition("-")[0] for name in names]
    assert len(set(numbers)) == len(numbers) > 0, names
    for name, number in zip(names, numbers, strict=True):
        title = (ROOT / "docs/decisions" / name).read_text()
        assert re.match(rf"# 0*{int(number)}\b", title), name


def test_sixteen_blocks_stand_in_their_files() -> None:
    names = {
        module.removeprefix("agent.ocpp.blocks.").split(".")[0][0]
        for module in MODULES
        if module.startswith("agent.ocpp.blocks.")
    }
    assert names == set("abcdefghijklmnop")


def test_the_daemon_loads_no_schema_or_bench_package() -> None:
    import subprocess

    code = (
        "import sys, agent.daemon, agent.cli, drivers.registry\n"
        "bad = {'jsonschema', 'fastjsonschema', 'ocpp', 'hil', 'cryptography', 'pymodbus'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
