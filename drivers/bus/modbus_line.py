"""One Modbus line or host and its arbiter, over pymodbus.

RTU has no transaction id, so an answer that comes after its time-out looks like the answer to the
next request. Hence: one request at a time, silence and an emptied buffer after every failure, an
answer counts only with the unit, function and length asked for, and each unit has a counter of
doubts by which its driver knows that it must get back in step first. Meters and controllers share
a line; an urgent request, a stop, is the next to go.
"""

import asyncio
import os
import stat
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EBUSY, ENOENT, ENOTTY
from importlib import import_module
from typing import TYPE_CHECKING

from drivers.bus.modbus_request import READ_HOLDING, READ_INPUT, Request
from drivers.bus.place import host_of
from drivers.bus.serial_port import FIRST_PAUSE_S, cannot_open, is_pty, next_pause_s
from drivers.bus.tap import TAP
from drivers.bus.turns import Rank, Turns
from drivers.contract import Counters, NoAnswer, PortError, ProtocolError, SerialLine

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
    from pymodbus.pdu import ModbusPDU

    Client = AsyncModbusSerialClient | AsyncModbusTcpClient

CLIENT = "pymodbus.client"
"""Loaded by the first request, in a thread: the loop has stops to send on other lines meanwhile."""
NEVER_S = 3600.0
"""pymodbus' own time-out; ours is always shorter, per device."""
CONNECT_S = 3.0
"""A host that does not answer holds up its line no longer than this."""


class Refused(ProtocolError):
    """The device answered with a Modbus exception: it does not serve these registers."""


def silence_s(line: SerialLine) -> float:
    """Least pause between two frames: 3.5 characters, 1.75 ms above 19200 baud (RTU 2.5.1.1)."""
    if line.baud > 19200:
        return 0.00175
    bits = 9 + line.stop_bits + (line.parity != "N")
    return 3.5 * max(bits, 11) / line.baud


class ModbusLine:
    """Asks the devices on one line, one request at a time."""

    def __init__(self, name: str, line: SerialLine) -> None:
        """Does no I/O; the port is opened by the first read. Raises PortError."""
        try:
            self._host = host_of(line.port)
        except ValueError as error:
            raise PortError(f"line {name}: {error}") from None
        self._name = name
        self._line = line
        self._turns = Turns()
        self._users = 0
        self._controllers = 0
        self._client: Client | None = None
        self._free_at_s = 0.0
        self._open_at_s = 0.0
        self._open_pause_s = FIRST_PAUSE_S
        self._waiting = False
        self._heard_bytes = 0
        self._line_doubts = 0
        self._unit_doubts: dict[int, int] = {}
        self._counters: dict[int, Counters] = {}
        self._opens = 0

    @contextmanager
    def held(self, controls: bool = False) -> Iterator[None]:
        """A device uses the line within; the last one to leave closes the port. `controls`: it
        switches power, so it has to be seen and told in time."""
        self._users += 1
        self._controllers += controls
        try:
            yield
        finally:
            self._users -= 1
            self._controllers -= controls
            if not self._users:
                self._close()

    @property
    def has_several_controllers(self) -> bool:
        """A dead one must not hold up the others."""
        return self._controllers > 1

    def doubts(self, unit: int) -> int:
        """Grows whenever an old answer of `unit` may be under way: get in step, then trust."""
        return self._line_doubts + self._unit_doubts.get(unit, 0)

    def counters(self, unit: int) -> Counters:
        """What went wrong with one unit; its driver shows them as its own."""
        return self._counters.setdefault(unit, Counters(opens=self._opens))

    async def read(
        self,
        unit: int,
        function: int,
        address: int,
        count: int,
        timeout_s: float = 1.0,
        delay_s: float = 0.0,
    ) -> list[int]:
        """Registers of one unit by function 3 or 4; otherwise as `ask`."""
        if function not in (READ_HOLDING, READ_INPUT):
            raise ProtocolError(f"Modbus function {function} reads no registers; use 3 or 4")
        return await self.ask(Request(unit, function, address, count), timeout_s, delay_s)

    async def ask(
        self,
        request: Request,
        timeout_s: float = 1.0,
        delay_s: float = 0.0,
        rank: Rank = Rank.OTHER,
        reopens: bool = False,
    ) -> list[int]:
        """What was read or written; raises PortError, NoAnswer, ProtocolError, Refused.

        A higher rank overtakes those that wait, an order also the pause after a failed request;
        `reopens`: a port that is gone is tried now, not when the back-off is over. Cancelling is
        safe: it counts as a failed request.
        """
        async with self._turns.taken(rank):
            task = asyncio.current_task()
            cancelled = task.cancelling() if task else 0
            try:
                client = await self._opened(at_once=reopens)
                await self._silence(delay_s, at_once=rank is Rank.ORDER)
                self._drain(client)
                return await self._exchange(client, request, timeout_s)
            finally:
                # pymodbus waits with asyncio.wait_for, which before Python 3.12 swallows a
                # cancellation that meets the answer; the task would then never end.
                if task and task.cancelling() > cancelled:
                    raise asyncio.CancelledError

    async def _exchange(self, client: "Client", request: Request, timeout_s: float) -> list[int]:
        ended_well = False
        counters = self.counters(request.unit)
        counters.requests += 1
        began_s = asyncio.get_running_loop().time()
        try:
            response = await self._heard(client, request, timeout_s)
            counters.answered(asyncio.get_running_loop().time() - began_s)
            self._check(response, request)
            ended_well = True
            return request.values_of(response)
        except Refused:
            ended_well = True
            counters.exceptions += 1
            raise
        except (NoAnswer, ProtocolError) as error:
            is_silence = isinstance(error, NoAnswer) and not self._heard_bytes
            counters.timeouts += is_silence
            counters.unusable += not is_silence
            raise
        finally:
            self._end(request.unit, ended_well, timeout_s)

    async def _heard(self, client: "Client", request: Request, timeout_s: float) -> "ModbusPDU":
        from pymodbus.exceptions import ModbusException

        self._heard_bytes = 0
        self._waiting = True
        try:
            async with asyncio.timeout(timeout_s):
                return await request.send(client)
        except TimeoutError:
            if not client.connected:
                raise self._port_lost() from None
            raise NoAnswer(self._silent(request.unit, timeout_s)) from None
        except ModbusException as error:
            if not client.connected:
                raise self._port_lost() from error
            raise ProtocolError(
                f"{self._where(request.unit)}: no usable answer ({error}); check the wiring and "
                "the line"
            ) from error
        finally:
            self._waiting = False

    def _check(self, response: "ModbusPDU", request: Request) -> None:
        if request.is_refused_by(response):
            raise Refused(
                f"{self._where(request.unit)}: refuses the request (exception code "
                f"{response.exception_code}); check that `unit` is this device's own and that "
                "its model fits"
            )
        mismatch = request.mismatch(response)
        if mismatch:
            raise ProtocolError(
                f"{self._where(request.unit)}: an answer to another request ({mismatch}); if this "
                "repeats, raise timeout_s of the device"
            )
        longer_head = 4 if self._host is not None and self._host.scheme == "tcp" else 0
        if self._heard_bytes != request.answer_bytes + longer_head:
            self._line_doubts += 1

    def _end(self, unit: int, ended_well: bool, timeout_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        self._free_at_s = now_s + (silence_s(self._line) if self._host is None else 0.0)
        if ended_well:
            return
        self._unit_doubts[unit] = self._unit_doubts.get(unit, 0) + 1
        if self._host is None:
            self._free_at_s = now_s + timeout_s
        else:
            self._close()  # what comes late dies with the connection

    async def _silence(self, delay_s: float, at_once: bool) -> None:
        loop = asyncio.get_running_loop()
        pause_s = max(self._free_at_s - loop.time(), delay_s)
        if at_once:
            pause_s = min(pause_s, silence_s(self._line))
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    def _drain(self, client: "Client") -> None:
        transport = client.ctx.transport
        port = getattr(transport, "sync_serial", None)
        if port is None:
            return
        try:
            if port.in_waiting:
                self._line_doubts += 1
                port.reset_input_buffer()
        except (OSError, termios.error) as error:
            raise self._port_lost() from error

    async def _opened(self, at_once: bool) -> "Client":
        if self._client is not None and self._client.connected:
            return self._client
        loop = asyncio.get_running_loop()
        if loop.time() < self._open_at_s and not at_once:
            raise self._cannot_open()
        self._close()
        if CLIENT not in sys.modules:
            await asyncio.to_thread(import_module, CLIENT)
        client = self._made()
        try:
            async with asyncio.timeout(CONNECT_S):
                opened = await client.connect()
        except (OSError, ValueError, termios.error):  # TimeoutError is an OSError
            opened = False
        if not opened:
            client.close()
            self._open_at_s = loop.time() + self._open_pause_s
            self._open_pause_s = next_pause_s(self._open_pause_s)
            raise self._cannot_open()
        self._open_pause_s = FIRST_PAUSE_S
        self._line_doubts += 1
        self._opens += 1
        for counters in self._counters.values():
            counters.opens = self._opens
        self._client = client
        return client

    def _made(self) -> "Client":
        from pymodbus import FramerType
        from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

        if self._host is not None:
            framer = FramerType.RTU if self._host.scheme == "rtu-tcp" else FramerType.SOCKET
            return AsyncModbusTcpClient(
                self._host.name,
                port=self._host.tcp_port,
                framer=framer,
                timeout=NEVER_S,
                retries=0,
                reconnect_delay=0,
                trace_packet=self._watch,
            )
        return AsyncModbusSerialClient(
            self._line.port,
            baudrate=self._line.baud,
            parity="N" if is_pty(self._line.port) else self._line.parity,
            stopbits=self._line.stop_bits,
            timeout=NEVER_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._watch,
        )

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _watch(self, sending: bool, data: bytes) -> bytes:
        """Hook of pymodbus: `data` is all that came since the request, or unasked-for bytes."""
        if TAP.seen is not None:
            TAP.seen(self._line.port, sending, data)
        if not sending:
            self._heard_bytes = len(data)
            if not self._waiting:
                self._line_doubts += 1
        return data

    def _cannot_open(self) -> PortError:
        if self._host is None:
            return cannot_open(self._line.port, _why_closed(self._line.port))
        return PortError(
            f"{self._line.port}: does not take a connection; check its address, cable and supply, "
            "and that no other program holds its only connection"
        )

    def _port_lost(self) -> PortError:
        self._close()
        if self._host is not None:
            return PortError(
                f"{self._line.port}: connection lost; check the network and its supply"
            )
        return PortError(f"{self._line.port}: port lost; check the adapter of line {self._name}")

    def _where(self, unit: int) -> str:
        return f"unit {unit} on line {self._name} ({self._line.port})"

    def _silent(self, unit: int, timeout_s: float) -> str:
        heard = f"only {self._heard_bytes} unusable bytes" if self._heard_bytes else "no answer"
        if self._host is not None:
            step = (
                "check its unit id (1 or 255 at most meters with a network port); behind a "
                "converter the unit id, and baud, parity and A/B on its RS-485 side"
            )
        elif self._heard_bytes:
            step = (
                "check baud rate and parity, that no second device has this unit id, then shield "
                "and termination"
            )
        else:
            step = "check supply and wiring (A/B), unit id, baud rate and parity of the device"
        return f"{self._where(unit)}: {heard} within {timeout_s:g} s; {step}"


def _why_closed(port: str) -> OSError:
    """pymodbus does not tell."""
    if not os.path.exists(port):
        return FileNotFoundError(ENOENT, "no such port")
    if not os.access(port, os.R_OK | os.W_OK):
        return PermissionError(EACCES, "forbidden")
    return OSError(EBUSY if stat.S_ISCHR(os.stat(port).st_mode) else ENOTTY, "not usable")
