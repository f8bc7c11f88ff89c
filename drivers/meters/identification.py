"""Who charges, in the words of OCMF (1.0, user assignment: fields IS, IL, IF, IT, ID)."""

from collections.abc import Mapping
from string import ascii_letters, digits
from types import MappingProxyType

from msgspec import Struct

from drivers.contract import Payer

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "ISO14443": "ISO14443",
        "ISO15693": "ISO15693",
        "eMAID": "EMAID",
        "MacAddress": "EVCCID",
        "Central": "CENTRAL",
        "Local": "LOCAL",
    }
)
"""IdTokenEnumType -> IT."""
CARDS = ("ISO14443", "ISO15693")
PLAIN_CARD = "RFID_PLAIN"
"""IF: a card's number alone, as anybody may copy it."""
EM580_KINDS: Mapping[str, int] = MappingProxyType(
    {"ISO14443": 10, "ISO15693": 11, "EMAID": 20, "EVCCID": 21, "CENTRAL": 60, "LOCAL": 70}
)
EM580_LETTERS = frozenset(ascii_letters + digits + "!$%'()*+,-./:<=>?")
EM580_LONGEST = 39
"""Characters in 20 registers, a zero behind them."""
EM580_HEARSAY, EM580_PLAIN_CARD = 1, 1
"""IL: assigned, not proven. First flag: RFID_PLAIN."""


class Identification(Struct, frozen=True):
    """What goes into signed data; by default nobody is named."""

    kind: str = "NONE"
    flags: tuple[str, ...] = ()
    data: str = ""
    """Whole: a number that is cut or hashed assigns the charge to nobody."""

    @property
    def is_assigned(self) -> bool:
        return bool(self.data)


def identification(payer: Payer | None) -> Identification:
    """Of a payer of a kind that OCMF knows."""
    if payer is None or payer.type not in KINDS or not payer.id:
        return Identification()
    flags = (PLAIN_CARD,) if payer.type in CARDS else ()
    return Identification(KINDS[payer.type], flags, payer.id)


def ocmf_fields(found: Identification) -> dict[str, object]:
    """As JSON fields."""
    return {
        "IS": found.is_assigned,
        "IF": list(found.flags),
        "IT": found.kind,
        "ID": found.data,
    }


def em580_registers(found: Identification) -> tuple[tuple[int, ...], ...]:
    """Status, level, four flags, type, data, one after the other; what the meter cannot hold names
    nobody."""
    fits = len(found.data) <= EM580_LONGEST and EM580_LETTERS.issuperset(found.data)
    if not found.is_assigned or not fits:
        return (0,), (0,), (0,) * 4, (0,), (0,) * 20
    flag = EM580_PLAIN_CARD if PLAIN_CARD in found.flags else 0
    data = found.data.encode().ljust(40, b"\0")
    words = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, 40, 2))
    return (1,), (EM580_HEARSAY,), (flag, 0, 0, 0), (EM580_KINDS[found.kind],), words
