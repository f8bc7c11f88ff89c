"""What may be asked on a Modbus line, and what counts as its answer; no I/O."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
    from pymodbus.pdu import ModbusPDU

    Client = AsyncModbusSerialClient | AsyncModbusTcpClient

READ_COILS = 1
READ_HOLDING = 3
READ_INPUT = 4
WRITE_COIL = 5
WRITE_REGISTER = 6
WRITE_REGISTERS = 16


class Request(Struct, frozen=True):
    """One request to one unit: `count` registers or coils to read, or `values` to write."""

    unit: int
    function: int
    address: int
    count: int = 1
    values: tuple[int, ...] = ()

    def send(self, client: "Client") -> "Awaitable[ModbusPDU]":
        """Puts it on the wire; raises ValueError for a function that is not served here."""
        match self.function:
            case 1:
                return client.read_coils(self.address, count=self.count, device_id=self.unit)
            case 3:
                return client.read_holding_registers(
                    self.address, count=self.count, device_id=self.unit
                )
            case 4:
                return client.read_input_registers(
                    self.address, count=self.count, device_id=self.unit
                )
            case 5:
                return client.write_coil(self.address, bool(self.values[0]), device_id=self.unit)
            case 6:
                return client.write_register(self.address, self.values[0], device_id=self.unit)
            case 16:
                return client.write_registers(self.address, list(self.values), device_id=self.unit)
        raise ValueError(f"Modbus function {self.function} is not used; use 1, 3, 4, 5, 6 or 16")

    @property
    def answer_bytes(self) -> int:
        """Of a good answer as an RTU frame: unit, function, data, checksum."""
        if self.function in (READ_HOLDING, READ_INPUT):
            return 5 + 2 * self.count
        return 5 + -(-self.count // 8) if self.function == READ_COILS else 8

    def is_refused_by(self, response: "ModbusPDU") -> bool:
        """The unit answered this very function with an exception."""
        return response.isError() and self._is_from(response)

    def mismatch(self, response: "ModbusPDU") -> str:
        """Why this is no answer to the request; empty when it is one.

        An answer to a write repeats what was written, so a late one shows.
        """
        if response.isError() or not self._is_from(response):
            return f"from unit {response.dev_id}, function {response.function_code & 0x7F}"
        if self.function in (READ_HOLDING, READ_INPUT):
            got = len(response.registers)
            return "" if got == self.count else f"{got} registers instead of {self.count}"
        if self.function == READ_COILS:
            got = len(response.bits)
            return "" if got == 8 * -(-self.count // 8) else f"{got} coils"
        return self._write_mismatch(response)

    def _write_mismatch(self, response: "ModbusPDU") -> str:
        if self.function == WRITE_REGISTERS:
            written = (response.address, response.count)
            wanted: tuple[int, int] = (self.address, len(self.values))
        else:
            echo = response.bits if self.function == WRITE_COIL else response.registers
            written, wanted = (response.address, int(echo[0])), (self.address, self.values[0])
        return "" if written == wanted else f"it took {written} instead of {wanted}"

    def values_of(self, response: "ModbusPDU") -> list[int]:
        """Registers, or coils as 0 and 1; what was written for a write."""
        if self.values:
            return list(self.values)
        if self.function == READ_COILS:
            return [int(bit) for bit in response.bits[: self.count]]
        return list(response.registers)

    def _is_from(self, response: "ModbusPDU") -> bool:
        return response.dev_id == self.unit and response.function_code & 0x7F == self.function
