"""What a map file tells of a meter that signs, and the signed data as they go on the wire.

OCMF (Open Charge Metering Format): "OCMF|{payload}|{signature}", two JSON objects.
"""

import json
from base64 import b64encode

from msgspec import Struct

from drivers.contract import ProtocolError, SignedData

LONGEST = 2500
"""Characters of SignedMeterValueType.signedMeterData."""
LONGEST_METHOD = 50
"""The same of signingMethod."""
DEFAULT_METHOD = "ECDSA-secp256r1-SHA256"
"""Of OCMF data whose signature names none (OCMF 1.0, field SA)."""
SPKI_P256 = "3059301306072a8648ce3d020106082a8648ce3d030107034200"
"""DER that stands before an uncompressed point of the curve secp256r1 (RFC 5480)."""


class Bauer(Struct, frozen=True, tag_field="procedure", tag="bauer", forbid_unknown_fields=True):
    """A snapshot on request: its SunSpec model is found in the device."""

    model: int = 64903
    type_offset: int = 2
    status_offset: int = 3
    text_offset: int = 4
    """All counted from the register that holds the model's number."""
    current: int = 0
    """Snapshot type: the values of now."""
    valid: int = 0
    updating: int = 2
    signs_begin: bool = True


class Iskra(Struct, frozen=True, tag_field="procedure", tag="iskra", forbid_unknown_fields=True):
    """A session with a command at both ends; the data of the end hold both values."""

    state: int
    command: int
    command_status: int
    time: int
    """Two registers, seconds of Unix time, high word first."""
    time_zone: int
    time_state: int
    algorithm: int
    metadata: int
    metadata_length: int
    values: int
    values_length: int
    signature: int
    signature_length: int
    public_key: int
    start: int = 0x4200
    stop: int = 0x7200
    idle: int = 0
    signed: int = 15
    in_progress: tuple[int, ...] = (0, 1, 2)
    """Command states that are to be waited out."""
    signs_begin: bool = True


class Em580(Struct, frozen=True, tag_field="procedure", tag="em580", forbid_unknown_fields=True):
    """A session with a command at both ends; one file of both values is ready after the end."""

    state: int
    size: int
    file: int
    command: int
    modality: int
    identification: int
    """27 registers: status, level, four flags, type, data."""
    public_key: int
    public_key_length: int = 32
    start: int = 0x42
    end: int = 0x45
    abort: int = 0x41
    idle: int = 0
    running: int = 1
    ready: int = 2
    signs_begin: bool = False


SigningMap = Bauer | Iskra | Em580


def signed_data(ocmf: str, key_hex: str) -> SignedData:
    """For the wire, untouched; raises ProtocolError where it is no OCMF, or too long for OCPP."""
    parts = ocmf.split("|", 2)
    try:
        payload, signature = (json.loads(part) for part in parts[1:])
        method = signature.get("SA") or DEFAULT_METHOD
        is_whole = parts[0] == "OCMF" and "RD" in payload and bool(signature["SD"])
        is_whole = is_whole and len(method) <= LONGEST_METHOD and "\ufffd" not in ocmf
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_whole, method = False, ""
    if not is_whole or not isinstance(method, str):
        raise ProtocolError("its signed data are no whole OCMF; read the meter's own display")
    data = b64encode(ocmf.encode()).decode()
    if len(data) > LONGEST:
        raise ProtocolError(
            f"its signed data take {len(data)} characters, OCPP has room for {LONGEST}; shorten "
            "the identification or tariff text in the meter"
        )
    return SignedData(data, method, "OCMF", public_key(key_hex))


def public_key(key_hex: str) -> str:
    """As OCPP wants it: Base64 of a prefix and the key (DER, hex); a bare point gets its DER."""
    if not key_hex.strip("0"):
        return ""
    if len(key_hex) == 128:
        key_hex = f"04{key_hex}"
    if len(key_hex) == 130:
        key_hex = SPKI_P256 + key_hex
    return b64encode(f"oca:base16:asn1:{key_hex}".encode()).decode()
