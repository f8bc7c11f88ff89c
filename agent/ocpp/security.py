"""Security events: which of them the CSMS must hear of, and what was noted last."""

from msgspec import Struct

CRITICAL = frozenset(
    {
        "FirmwareUpdated",
        "SettingSystemTime",
        "StartupOfTheDevice",
        "ResetOrReboot",
        "SecurityLogWasCleared",
        "MemoryExhaustion",
        "TamperDetectionActivated",
        "InvalidFirmwareSignature",
        "InvalidFirmwareSigningCertificate",
        "InvalidCsmsCertificate",
        "InvalidChargingStationCertificate",
        "InvalidTLSVersion",
        "InvalidTLSCipherSuite",
        "MaintenanceLoginAccepted",
        "MaintenanceLoginFailed",
        "DiscardedRenewedClientCertificate",
    }
)
"""Part 2 Appendix 1, and A02.FR.29; they wait in the outbox until the CSMS has them."""


AT_ONCE = 20
ONE_EVERY_S = 600.0
"""Events of one type: so many at once, beyond that one each ten minutes. A CSMS can cause most of
them as often as it likes, and each critical one stays on the disk until it is answered."""


class _Room(Struct):
    """A bucket of one type that fills again with time."""

    left: float = AT_ONCE
    at_s: float = 0.0
    left_out: int = 0


class SecurityMemory:
    """What was noted last, so that nothing floods the log or the outbox."""

    def __init__(self) -> None:
        self.of_outage: set[str] = set()
        """What failed dials were found guilty of since a link was open."""
        self.written_s: dict[str, float] = {}
        self.utc_offset_s: float | None = None
        self.is_full = False
        """The CSMS was told that the outbox is getting full."""
        self._rooms: dict[str, _Room] = {}

    def admits(self, kind: str, now_s: float) -> int | None:
        """How many like it were left out since the last one; None: this one is left out, too."""
        room = self._rooms.setdefault(kind, _Room(at_s=now_s))
        grown = room.left + (now_s - room.at_s) / ONE_EVERY_S
        room.left, room.at_s = min(float(AT_ONCE), grown), now_s
        if room.left < 1.0:
            room.left_out += 1
            return None
        room.left -= 1.0
        left_out, room.left_out = room.left_out, 0
        return left_out
