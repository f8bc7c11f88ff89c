"""Security events: which of them the CSMS must hear of, and what was noted last."""

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


class SecurityMemory:
    """What was noted last, so that nothing floods the log or the outbox."""

    def __init__(self) -> None:
        self.of_outage: set[str] = set()
        """What failed dials were found guilty of since a link was open."""
        self.written_s: dict[str, float] = {}
        self.utc_offset_s: float | None = None
        self.is_full = False
        """The CSMS was told that the outbox is getting full."""
