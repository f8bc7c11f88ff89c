"""`chargepoint probe` before a controller that speaks at another baud, over a pty."""

import re
from argparse import Namespace
from pathlib import Path

import pytest

from agent import probe
from hil.parts.bytes_under_way import BytesUnderWay
from hil.parts.pty_port import PtyPort
from hil.virtual_time import run_virtual
from tests.agent.probe_test import file_in


def probed(folder: Path, answer: bytes) -> int:
    """Of a station whose controller answers each command so."""
    file = file_in(folder)

    async def scene() -> int:
        port = PtyPort()
        port.open()
        port.on_bytes = lambda data: port.write(answer)
        _name_port(Path(file), port.path)
        try:
            settings = probe.settings_of(file)
            return await probe._directly(settings, Namespace(watch=False, json=False))
        finally:
            port.unplug()

    with BytesUnderWay() as under_way:
        return run_virtual(scene(), fd_grace_s=under_way.grace_s)


def _name_port(file: Path, port: str) -> None:
    ports = re.compile(r"(driver: openevse\n\s+port: )\S+")
    text, found = ports.subn(rf"\g<1>{port}", file.read_text())
    assert found
    file.write_text(text)


def test_garble_names_the_baud_and_the_wires(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probed(tmp_path, b"\x00\xf8\x9e\x00\xe6\x98\x80\x18") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"only garble in answer to \$FS \(\d+ bytes that are no text\)", out)
    assert "check `baud` against the controller's own, then its wires" in out
    assert re.search(r"3 timeouts, 0 unusable, 0 exceptions, 0 reconnects, \d+ garbled bytes", out)


def test_silence_is_no_garble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probed(tmp_path, b"DEBUG: hello\r\n") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "no answer to $FS; check that the controller has power" in out
    assert "garble" not in out
