"""A good charger.yaml, and what is said of it once something in it was changed."""

from agent import settings_load
from agent.settings import Settings
from agent.settings_load import Loaded

GOOD = """\
station:
  identity: CP-1
  vendor: Acme
  model: One
csms:
  - url: wss://csms.example.com/ocpp
supply:
  current_a: 32
evses:
  - id: 1
    meter: meter
    connectors:
      - id: 1
        pilot: pilot
devices:
  meter:
    driver: modbus_meter
    line: bus
    model: lovato_dmg610
  pilot:
    driver: openevse
    port: /dev/serial/by-id/usb-pilot
lines:
  bus:
    port: /dev/serial/by-id/usb-bus
"""


def read(text: str | bytes) -> Loaded:
    return settings_load.read(text.encode() if isinstance(text, str) else text, "c.yaml")


def changed(*pairs: tuple[str, str]) -> Loaded:
    text = GOOD
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return read(text)


def mistakes(loaded: Loaded) -> list[str]:
    assert (loaded.settings is None) == bool(loaded.mistakes)
    return [str(mistake) for mistake in loaded.mistakes]


def the_mistake(*pairs: tuple[str, str]) -> str:
    found = mistakes(changed(*pairs))
    assert len(found) == 1, found
    return found[0]


def the_warning(*pairs: tuple[str, str]) -> str:
    loaded = changed(*pairs)
    assert mistakes(loaded) == []
    assert len(loaded.warnings) == 1, loaded.warnings
    return str(loaded.warnings[0])


def good(*pairs: tuple[str, str]) -> Settings:
    loaded = changed(*pairs)
    assert mistakes(loaded) == []
    assert loaded.settings is not None
    return loaded.settings


def second_evse(evse_id: int = 2, pilot: str = "pilot2", meter: str = "meter2") -> str:
    return (
        f"  - id: {evse_id}\n    meter: {meter}\n    connectors:\n"
        f"      - id: 1\n        pilot: {pilot}\ndevices:\n"
        "  pilot2: {driver: sim_pilot}\n  meter2: {driver: sim_meter}\n"
    )


URL = "url: wss://csms.example.com/ocpp"
