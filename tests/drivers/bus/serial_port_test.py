import asyncio
import errno
import termios
from pathlib import Path

import pytest
import serial

from drivers.bus.serial_port import SerialPort, cannot_open
from drivers.contract import PortError, SerialLine


def line(path: str) -> SerialLine:
    return SerialLine(port=path, baud=9600, parity="E")


async def test_bytes_go_both_ways_on_a_pty_even_with_parity_asked_for(far_end, eventually) -> None:
    heard, received = bytearray(), bytearray()
    far_end.on_bytes = received.extend
    port = SerialPort(line(far_end.path), heard.extend)
    port.write(b"\x00ping\xff\r")
    far_end.send(b"\x00pong\x11\x13\x03\n")
    await eventually(lambda: received == b"\x00ping\xff\r" and heard == b"\x00pong\x11\x13\x03\n")
    port.close()
    port.close()


async def test_a_port_is_held_exclusively(far_end) -> None:
    port = SerialPort(line(far_end.path), print)
    with pytest.raises(PortError, match="another program holds it; `fuser -v"):
        SerialPort(line(far_end.path), print)
    port.close()
    SerialPort(line(far_end.path), print).close()


async def test_a_hang_up_is_a_port_error_and_later_writes_do_nothing(far_end, eventually) -> None:
    port = SerialPort(line(far_end.path), lambda data: None)
    far_end.hang_up()
    await eventually(port.lost.done)
    assert isinstance(port.lost.result(), PortError)
    port.write(b"x")
    port.close()


async def test_a_port_that_takes_no_data_is_lost_instead_of_filling_memory(far_end) -> None:
    port = SerialPort(line(far_end.path), lambda data: None)
    for _ in range(100):
        port.write(b"x" * 1000)
    assert "takes no more data" in str(port.lost.result())
    port.close()


async def test_a_missing_port_names_itself_and_the_next_step() -> None:
    with pytest.raises(PortError, match=r"/dev/nothing_here: .*no such port; plug the adapter in"):
        SerialPort(line("/dev/nothing_here"), print)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (serial.SerialException(errno.ENOENT, "x"), "no such port; plug the adapter in"),
        (serial.SerialException(errno.EACCES, "x"), "usermod -aG dialout chargepoint"),
        (PermissionError(errno.EACCES, "x"), "`ls -lL /dev/ttyX` shows"),
        (PermissionError(errno.EPERM, "x"), "below it DeviceAllow=/dev/ttyX rw"),
        (OSError(errno.EBUSY, "x"), "`fuser -v /dev/ttyX`"),
        (termios.error(errno.ENOTTY, "x"), "it is no serial port; take a path"),
        (termios.error(errno.EIO, "x"), "Input/output error; check the adapter"),
        (ValueError("Not a valid baudrate: 7"), "Not a valid baudrate: 7; check"),
    ],
)
def test_each_reason_has_its_own_next_step(error: Exception, said: str) -> None:
    told = str(cannot_open("/dev/ttyX", error))
    assert told.startswith("/dev/ttyX: cannot be opened: ")
    assert said in told
    assert "[Errno" not in told


def test_a_file_is_no_serial_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def open_it() -> None:
        SerialPort(line(str(tmp_path / "file")), print)

    with pytest.raises(PortError, match="it is no serial port"):
        asyncio.run(open_it())
