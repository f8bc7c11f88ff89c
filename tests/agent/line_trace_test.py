"""The bytes on the lines of the devices, for whoever looks on."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent import trace
from agent.console import ConsoleError
from agent.line_trace import BYTES_SHOWN, HEAD, LineTrace, names_of, secret_ports
from agent.settings import Settings
from agent.settings_load import load
from drivers.bus.tap import TAP
from drivers.registry import Registry

EXAMPLE = Path(__file__).parent.parent.parent / "config" / "charger.yaml"


@pytest.fixture
def settings() -> Settings:
    found = load(str(EXAMPLE)).settings
    assert found is not None
    return found


def traced(settings: Settings) -> LineTrace:
    build = Registry(settings.lines, settings.devices).build
    devices = {name: build(name, options) for name, options in settings.devices.items()}
    return LineTrace(settings, devices, lambda: 0.0)


async def first(trace: LineTrace, port: str, *pieces: tuple[bool, bytes]) -> list[dict[str, Any]]:
    """What is told of these pieces on the port."""
    told = trace.follow()
    assert (await anext(told))["text"].startswith("lines: ")
    for is_sent, data in pieces:
        assert TAP.seen is not None
        TAP.seen(port, is_sent, data)
    rows = [await anext(told) for _ in pieces]
    await told.aclose()
    return rows


def port_of(settings: Settings, name: str) -> str:
    return next(port for port, owner in names_of(settings).items() if owner == name)


async def test_bytes_are_told_with_their_line_and_nobody_pays_afterwards(
    settings: Settings,
) -> None:
    (line,) = settings.lines
    port = port_of(settings, line)
    rows = await first(traced(settings), port, (True, b"\x01\x04\x00"), (False, b"x" * 400))
    assert rows[0] == {
        "time": "1970-01-01T00:00:00.000Z",
        "direction": "sent",
        "line": line,
        "bytes": "01 04 00",
    }
    assert rows[1]["direction"] == "heard"
    assert len(bytes.fromhex(rows[1]["bytes"])) == BYTES_SHOWN
    assert rows[1]["note"] == "400 bytes"
    assert TAP.seen is None
    assert trace.line(rows[0]) == f"00:00:00.000Z -> {line} 01 04 00"


async def test_of_a_reader_no_byte_is_shown_and_of_a_meter_that_signs_the_head(
    settings: Settings,
) -> None:
    (reader,) = await first(traced(settings), port_of(settings, "reader1"), (False, b"04A1B2C3\r"))
    assert (reader["bytes"], reader["note"]) == ("", "9 bytes, a card")
    meters = {
        name: replace(options, model="bauer_bsm_ws36a")
        for name, options in settings.devices.items()
        if getattr(options, "line", "")
    }
    signing = replace(settings, devices={**settings.devices, **meters})
    (line,) = settings.lines
    (row,) = await first(traced(signing), port_of(settings, line), (False, b"\x01\x03\x1004A1B2C3"))
    assert len(bytes.fromhex(row["bytes"])) == HEAD
    assert row["note"] == "11 bytes, a meter that signs"
    assert secret_ports(settings, {}) == {port_of(settings, "reader1"): "a card"}


async def test_only_so_many_may_listen(settings: Settings) -> None:
    lines = traced(settings)
    told = [lines.follow() for _ in range(4)]
    for one in told:
        await anext(one)
    with pytest.raises(ConsoleError, match="end one of them"):
        lines.follow()
    await told[0].aclose()
    assert TAP.seen is not None, "the others still look"
    for one in told[1:]:
        await one.aclose()
    assert TAP.seen is None
