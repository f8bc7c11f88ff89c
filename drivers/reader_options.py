"""What charger.yaml says of card readers (part of the contract)."""

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

UidFormat = Literal["hex", "dec", "text"]
TokenType = Literal[
    "Central",
    "eMAID",
    "ISO14443",
    "ISO15693",
    "KeyCode",
    "Local",
    "MacAddress",
    "NoAuthorization",
]
"""IdTokenEnumType of OCPP 2.0.1: what a reader may show, and what the station carries."""
TOKEN_TYPES: tuple[str, ...] = get_args(TokenType)


class SerialReaderOptions(
    Struct, frozen=True, tag_field="driver", tag="serial_reader", forbid_unknown_fields=True
):
    """A card reader that writes one line per card on a serial port."""

    port: str
    baud: int = 9600
    evses: tuple[int, ...] = ()
    """EVSEs this reader serves; empty means all of them."""
    profile: Literal["line", "rdm6300", "twn4"] = "line"
    """What it writes: a line that `pattern` matches; the checked frames of RDM6300 (125 kHz); the
    lines of a TWN4 as it is shipped."""
    pattern: str = "^([0-9A-Fa-f]{8,20}|(?:[0-9A-Fa-f]{2}[ :.-]){3,9}[0-9A-Fa-f]{2})$"
    """Regular expression whose first group is the card number."""
    token_type: str = "ISO14443"
    format: UidFormat = "hex"
    """How the number is written: hex, dec (converted to hex), or text, passed on as it is. Only
    ISO14443 and ISO15693 are numbers of cards; other token types are always text."""
    reverse_bytes: bool = False
    strip_bcc: bool = False
    """The last byte is the check byte of the card (BCC): checked and left out."""
    uid_bytes: tuple[Annotated[int, Meta(ge=1, le=16)], ...] = ()
    """Lengths that are taken, in bytes: [4, 7] for ISO 14443. Empty: any."""


class KeyboardReaderOptions(
    Struct, frozen=True, tag_field="driver", tag="keyboard_reader", forbid_unknown_fields=True
):
    """A USB reader that types the card number like a keyboard; nobody else hears it."""

    port: str
    """Its name under /dev/input/by-id, ending in -event-kbd; eventN changes with each boot."""
    evses: tuple[int, ...] = ()
    """EVSEs this reader serves; empty means all of them."""
    pattern: str = "^([0-9A-Fa-f]{6,20})$"
    """Regular expression whose first group is the card number."""
    token_type: str = "ISO14443"
    format: UidFormat = "hex"
    """How the number is typed: hex, dec (converted to hex), or text, passed on as it is."""
    reverse_bytes: bool = False
    strip_bcc: bool = False
    """The last byte is the check byte of the card (BCC): checked and left out."""
    uid_bytes: tuple[Annotated[int, Meta(ge=1, le=16)], ...] = ()
    """Lengths that are taken, in bytes: [4, 7] for ISO 14443. Empty: any."""


class Pn532Options(
    Struct, frozen=True, tag_field="driver", tag="pn532", forbid_unknown_fields=True
):
    """A PN532 on a serial port (HSU); it reads the UID of ISO 14443 A cards."""

    port: str
    baud: int = 115200
    evses: tuple[int, ...] = ()
    """EVSEs this reader serves; empty means all of them."""
    poll_s: float = 0.25
    """Pause between two looks for a card."""


ReaderOptions = SerialReaderOptions | KeyboardReaderOptions | Pn532Options
