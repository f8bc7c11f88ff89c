"""Meters that sign, as Modbus units of a bench: registers that can be written, and real ECDSA.

The register numbers are those of the makers' manuals; nothing here is shared with the drivers.
"""

import json
from base64 import b64decode
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hil.parts.modbus_slave import Registers, Unit

HOLDING, INPUT = 3, 4


class SigningMeter:
    """What the three have in common: an energy counter, a key, registers."""

    max_registers = 125

    def __init__(self, energy_wh: int = 1_234_500) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.energy_wh = energy_wh
        self.counts: Callable[[], float] | None = None
        """Where its counter stands, if not always at the same; whole Wh are shown."""
        self.payloads: list[str] = []
        """All that was signed so far; PG of each is T and its number, from 1."""
        self.begun_wh = energy_wh
        self.registers: dict[tuple[int, int], int] = {}
        self.written: list[tuple[int, int]] = []
        self.is_stuck = False
        """It takes commands and never gets done."""
        self.fails_with: int | None = None
        """The status it ends with instead of a signature."""
        self.padding = ""
        """Text that makes the signed data longer."""

    def unit(self) -> Unit:
        """For a slave line of a bench."""
        return Unit(self._read, self.max_registers, write=self._write)

    def public_hex(self) -> str:
        """DER of the public key."""
        public = self.key.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()

    def payload(self, *moments: str) -> str:
        """The first JSON of OCMF data with a reading for each moment (B, C, E)."""
        at_wh = {"B": self.begun_wh}
        readings = [
            {"TX": tx, "RV": at_wh.get(tx, self.energy_wh) / 1000, "RU": "kWh"} for tx in moments
        ]
        page = f"T{len(self.payloads) + 1}"
        fields = {"FV": "1.0", "PG": page, **self.user(), "TT": self.padding, "RD": readings}
        self.payloads.append(json.dumps(fields))
        return self.payloads[-1]

    def user(self) -> dict[str, object]:
        """Who charges, as it was told: IS, IF, IT, ID."""
        return {"IS": False, "IF": [], "IT": "NONE", "ID": ""}

    def signed(self, payload: str) -> bytes:
        return self.key.sign(payload.encode(), ec.ECDSA(SHA256()))

    def has_signed(self, data: str) -> bool:
        """Base64 of OCMF that this meter made: each part as it left it."""
        kind, _, rest = b64decode(data).decode("utf-8", "replace").partition("|")
        payload, _, signature = rest.partition("|")
        if kind != "OCMF" or payload not in self.payloads:
            return False
        signed = bytes.fromhex(json.loads(signature)["SD"])
        try:
            self.key.public_key().verify(signed, payload.encode(), ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    def put(self, address: int, *words: int, function: int = HOLDING) -> None:
        for at, word in enumerate(words, address):
            self.registers[function, at] = word

    def put_bytes(self, address: int, data: bytes) -> None:
        data += b"\0" * (len(data) % 2)
        words = (int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        self.put(address, *words)

    def bytes_at(self, address: int, length: int) -> bytes:
        words = (self.registers[HOLDING, address + n] for n in range(-(-length // 2)))
        return b"".join(word.to_bytes(2, "big") for word in words)[:length]

    def _count(self) -> None:
        if self.counts is not None:
            self.energy_wh = int(self.counts())

    def _read(self) -> Registers:
        self._count()
        self.measure()
        return self.registers

    def _write(self, kind: int, address: int, value: int) -> bool:
        self.written.append((address, value))
        self.put(address, value)
        self._count()
        self.obey(address, value)
        return kind == HOLDING

    def measure(self) -> None:
        """Renews the registers of the energy."""
        raise NotImplementedError

    def obey(self, address: int, value: int) -> None:
        """A register was written."""
        raise NotImplementedError


class BauerBsm(SigningMeter):
    """SunSpec chain: common model, meter 203, OCMF snapshots "turn on" and "current"."""

    METER, TURN_ON, CURRENT, END = 40070, 40200, 40700, 41200

    def __init__(self) -> None:
        super().__init__()
        self.put(40000, 0x5375, 0x6E53, 1, 66)
        self.put_bytes(40052, b"BSM1")
        self.put(self.METER, 203, self.TURN_ON - self.METER - 2)
        self.put(self.TURN_ON, 64903, self.CURRENT - self.TURN_ON - 2, 1, 0)
        self.put(self.CURRENT, 64903, self.END - self.CURRENT - 2, 0, 1)
        self.put(self.END, 0xFFFF, 0)

    def measure(self) -> None:
        self.put(self.METER + 2 + 44, self.energy_wh >> 16, self.energy_wh & 0xFFFF)

    def obey(self, address: int, value: int) -> None:
        if address != self.CURRENT + 3 or value != 2 or self.is_stuck:
            return
        if self.fails_with is not None:
            self.put(address, self.fails_with)
            return
        payload = self.payload("C")
        text = f'OCMF|{payload}|{{"SD":"{self.signed(payload).hex()}"}}'
        self.put(self.CURRENT + 4, *([0] * (self.END - self.CURRENT - 4)))
        self.put_bytes(self.CURRENT + 4, text.encode())
        self.put(address, 0)


class IskraWm3(SigningMeter):
    """Sessions by command 'B' and 'r'; values and signature stand apart."""

    max_registers = 60

    def __init__(self) -> None:
        super().__init__()
        for at in (*range(7000, 9000), *range(450)):
            self.put(at, 0, function=HOLDING if at >= 7000 else INPUT)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.put_bytes(8124, point[1:])

    def measure(self) -> None:
        self.put(0x01A2, self.energy_wh >> 16, self.energy_wh & 0xFFFF, function=INPUT)

    def obey(self, address: int, value: int) -> None:
        if address != 7051 or self.is_stuck:
            return
        if self.fails_with is not None:
            self.put(7000, int(value == 0x4200))
            self.put(7052, self.fails_with)
            return
        self.put(7000, int(value == 0x4200))
        if value == 0x4200:
            self.begun_wh = self.energy_wh
        payload = self.payload("B") if value == 0x4200 else self.payload("B", "E")
        signature = self.signed(payload)
        self.put_bytes(7612, payload.encode())
        self.put_bytes(8188, signature)
        self.put(7057, len(payload), len(signature))
        self.put(7052, 15)

    def user(self) -> dict[str, object]:
        told = json.loads(self.bytes_at(7100, self.registers[HOLDING, 7056]))
        return {name: told[name] for name in ("IS", "IF", "IT", "ID")}


class GavazziEm580(SigningMeter):
    """Sessions by command 'B' and 'E'; a file after the end."""

    max_registers = 123

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, object] = {}
        """As it stood when the session began."""
        for at in (*range(0x7000, 0x7910), *range(0x24F0, 0x2700)):
            self.put(at, 0)
        for at in (*range(0x60), *range(0x0500, 0x0520), *range(0x5000, 0x5007)):
            self.put(at, 0, function=INPUT)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.put_bytes(0x2500, point[1:])

    def measure(self) -> None:
        words = [self.energy_wh >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
        self.put(0x0500, *words, function=INPUT)

    def obey(self, address: int, value: int) -> None:
        if address != 0x7040 or self.is_stuck:
            return
        if value == 0x42:
            self.begun_wh = self.energy_wh
            self.named = self._named()
            self.put(0x7100, 1)
        elif value == 0x41:
            self.put(0x7100, 0)
        elif self.fails_with is not None:
            self.put(0x7100, self.fails_with)
        else:
            payload = self.payload("B", "E")
            text = f'OCMF|{payload}|{{"SD":"{self.signed(payload).hex()}"}}'.encode()
            self.put_bytes(0x7110, text)
            self.put(0x7100, 2, -(-len(text) // 2))

    def user(self) -> dict[str, object]:
        return self.named

    def _named(self) -> dict[str, object]:
        kind = {0: "NONE", 10: "ISO14443", 20: "EMAID"}[self.registers[HOLDING, 0x7006]]
        flags = ["RFID_PLAIN"] if self.registers[HOLDING, 0x7002] == 1 else []
        text = self.bytes_at(0x7007, 40).rstrip(b"\0").decode()
        return {"IS": self.registers[HOLDING, 0x7000] == 1, "IF": flags, "IT": kind, "ID": text}
