"""Whoever looks on sees the bytes of every line."""

import pytest

from drivers.bus.modbus_line import ModbusLine
from drivers.bus.serial_port import SerialPort
from drivers.bus.tap import TAP
from drivers.contract import NoAnswer, SerialLine


async def test_serial_ports_and_modbus_lines_tell_what_they_carry(
    far_end, eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool, bytes]] = []
    monkeypatch.setattr(TAP, "seen", lambda *piece: seen.append(piece))
    port = SerialPort(SerialLine(port=far_end.path), lambda data: None)
    port.write(b"$GS^30\r")
    far_end.send(b"$OK\r")
    await eventually(lambda: len(seen) == 2)
    port.close()
    assert seen == [(far_end.path, True, b"$GS^30\r"), (far_end.path, False, b"$OK\r")]
    seen.clear()
    line = ModbusLine("bus", SerialLine(port=far_end.path))
    with line.held(), pytest.raises(NoAnswer):
        await line.read(1, 4, 0, 6, timeout_s=0.05)
    assert [(one[1], one[2][:6].hex()) for one in seen] == [(True, "010400000006")]
