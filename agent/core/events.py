"""Facts that happened, in the past tense: all that the pure rooms ever react to."""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from drivers.contract import MeterReading, Permit, PilotReading


class Now(Struct, frozen=True):
    """All that a pure room needs from outside at one moment."""

    mono_s: float
    """Event-loop clock, for intervals."""
    utc_offset_s: float
    """Best guess: seconds to add to `mono_s` for UTC seconds since 1970."""
    utc_known: bool
    """False until a trusted clock (NTP, CSMS) was seen since boot."""
    boot_id: str
    permit: Permit
    """Number of the last guard stop known when the event entered the inbox."""
    random: Callable[[], float]
    """Uniform in [0, 1)."""
    new_id: Callable[[], str]
    """A fresh UUID4, 36 characters."""
    happened_s: float | None = None
    """Loop time of the fact that is handled, if it had to wait (for the disk); None: now."""

    @property
    def at_s(self) -> float:
        """When the fact that is handled happened: what is told of it carries this time."""
        return self.mono_s if self.happened_s is None else self.happened_s

    def utc_s(self, at_s: float | None = None) -> float:
        """UTC seconds since 1970 of a loop time (default: now)."""
        return (self.mono_s if at_s is None else at_s) + self.utc_offset_s


class IdToken(Struct, frozen=True):
    """Identifier of a driver; equal when value (any case) and type are (C01.FR.25)."""

    value: str
    type: str
    additional_info: tuple[tuple[str, str], ...] = ()
    """(additionalIdToken, type) pairs; they do not count for equality."""

    def __repr__(self) -> str:
        """For a log, where no code that a driver typed may stand (C04.FR.04), nor a whole card."""
        shown = "" if self.type == "KeyCode" else self.value[:4]
        return f"IdToken({shown}..., {self.type})"

    @property
    def key(self) -> tuple[str, str]:
        """What two equal tokens share."""
        return self.value.lower(), self.type

    def same_as(self, other: "IdToken | None") -> bool:
        """C01.FR.25."""
        return other is not None and self.key == other.key


class TokenInfo(Struct, frozen=True):
    """What the CSMS said of a token (IdTokenInfoType); times are UTC seconds."""

    status: str
    group: IdToken | None = None
    cache_expiry_s: float | None = None
    evse_ids: tuple[int, ...] = ()
    language: str = ""
    updated_s: float = 0.0

    @property
    def accepted(self) -> bool:
        return self.status == "Accepted"


# --- the hardware ---------------------------------------------------------------------------


class PilotChanged(Struct, frozen=True):
    """Pilot state, power path, offered current, faults or cable differ from the last report."""

    evse_id: int
    connector_id: int
    reading: PilotReading


class MeterRead(Struct, frozen=True):
    evse_id: int
    reading: MeterReading


class FaultRaised(Struct, frozen=True):
    """A fault that no pilot reading carries: a lost device, an input; connector_id 0: the EVSE."""

    evse_id: int
    connector_id: int
    fault: str


class FaultCleared(Struct, frozen=True):
    evse_id: int
    connector_id: int
    fault: str


class Serviced(Struct, frozen=True):
    """A technician looked at the connector: what waited for that may be sold again."""

    evse_id: int
    connector_id: int


class LockSeen(Struct, frozen=True):
    """The plug lock of a socket told where it stands; after an order always, even unmoved."""

    evse_id: int
    connector_id: int
    locked: bool
    at_s: float


class TokenPresented(Struct, frozen=True):
    """A driver showed a card or typed a code; the reader serves `evse_ids` (empty: all)."""

    token: IdToken
    evse_ids: tuple[int, ...] = ()


class BayChanged(Struct, frozen=True):
    """The parking bay sensor sees something there, or nothing any more."""

    evse_id: int
    occupied: bool


class GuardStopped(Struct, frozen=True):
    """The guard stopped power by itself; permits up to then are void."""

    evse_id: int
    connector_id: int
    cause: str


class OrderRefused(Struct, frozen=True):
    """An order to energise came with a void permit or against what the guard sees."""

    evse_id: int
    connector_id: int
    cause: str


# --- our own store --------------------------------------------------------------------------


class RowsFound(Struct, frozen=True):
    """Answer to the effect FindRows: such messages wait in the outbox, or not."""

    question: str
    found: bool


class KeptMessage(Struct, frozen=True):
    """One that waits for the CSMS, or was set aside with its reason; `body`: JSON."""

    action: str
    body: str
    is_set_aside: bool
    reason: str = ""


class MessagesFound(Struct, frozen=True):
    """Answer to the effect FindMessages, oldest first, those that wait before those set aside."""

    question: str
    messages: tuple[KeptMessage, ...]
    is_readable: bool = True
    """False: the store cannot say."""


class LookedUp(Struct, frozen=True):
    """Answer to the effect LookUp: the cached entry, or None."""

    token: IdToken
    info: TokenInfo | None


# --- what the CSMS side tells the charger (emitted by OCPP blocks) ----------------------------


class CsmsReached(Struct, frozen=True):
    """Connected, and the boot was accepted: the station is online."""


class CsmsLost(Struct, frozen=True):
    """The station is offline from now on."""


class ClockSet(Struct, frozen=True):
    """A trusted UTC (seconds since 1970) for the loop time `at_s`."""

    utc_s: float
    at_s: float


class TokenAnswered(Struct, frozen=True):
    """The CSMS answered an Authorize."""

    token: IdToken
    info: TokenInfo


class TokenUnanswered(Struct, frozen=True):
    """An Authorize got no usable answer: timeout, CALLERROR, link lost."""

    token: IdToken


class TransactionAnswered(Struct, frozen=True):
    """The CSMS answered a TransactionEvent that carried the token, with its view of it."""

    transaction_id: str
    token: IdToken
    info: TokenInfo


class StartRequested(Struct, frozen=True):
    """RequestStartTransaction was accepted (F01, F02)."""

    evse_id: int
    token: IdToken
    group: IdToken | None
    remote_start_id: int


class StopRequested(Struct, frozen=True):
    """RequestStopTransaction was accepted (F03)."""

    transaction_id: str


class CurrentLimited(Struct, frozen=True):
    """The profiles of an EVSE (0: the station) allow this many A per phase now; None: no limit."""

    evse_id: int
    limit_a: float | None


class ResetRequested(Struct, frozen=True):
    """Reset was accepted (B11, B12): at once, or once no transaction runs any more. evse_id 0: the
    station."""

    on_idle: bool
    evse_id: int = 0


class AvailabilityRequested(Struct, frozen=True):
    """ChangeAvailability (G03, G04); connector_id 0: the EVSE, evse_id 0: the station."""

    evse_id: int
    connector_id: int
    operative: bool


class UpdatePending(Struct, frozen=True):
    """A firmware update waits for the last transactions, or goes on: EVSEs that are not in use are
    Unavailable (L01.FR.07); or it is over."""

    pending: bool


class UnlockRequested(Struct, frozen=True):
    """UnlockConnector (F05): tried whether a plug is seen or not."""

    evse_id: int
    connector_id: int


class MessageTriggered(Struct, frozen=True):
    """TriggerMessage was accepted (F06): who owns that message sends it, with what is so now.

    evse_id 0: of all EVSEs, or where it `is_named`, of the station; connector_id 0: of all
    connectors.
    """

    message: str
    evse_id: int = 0
    connector_id: int = 0
    is_named: bool = False


class PolicyChanged(Struct, frozen=True):
    """OCPP variables that the core obeys have new values; the policy is `core.policy.Policy`."""

    policy: object


class StopCause(StrEnum):
    """Why the process started with power off: decides what happens to open transactions."""

    POWER_LOSS = "PowerLoss"
    REBOOT = "Reboot"


class Started(Struct, frozen=True):
    """First event of a process. `cause` says how the last one ended."""

    cause: StopCause
    boot_reason: str
    """BootReasonEnumType: PowerUp, Watchdog, ApplicationReset, RemoteReset, ..."""


class TransactionStarted(Struct, frozen=True):
    """A fact for the blocks: profiles, reservations and messages hang on it."""

    evse_id: int
    transaction_id: str
    at_s: float
    remote_start_id: int | None = None


class TransactionEnded(Struct, frozen=True):
    evse_id: int
    transaction_id: str


class Tick(Struct, frozen=True):
    """A deadline passed."""


# --- the link (from csms.session) -------------------------------------------------------------


class LinkOpened(Struct, frozen=True):
    """A websocket with the agreed subprotocol is up."""

    slot: int
    trusted_by: str = ""
    """Fingerprint of the root certificate that vouched for the CSMS; "" without TLS."""


class LinkClosed(Struct, frozen=True):
    """Dialling failed or an open link ended; `reason` is for the technician."""

    reason: str
    security_event: str = ""
    """What it is in the standard's list of security events, if anything."""


class FrameReceived(Struct, frozen=True):
    """One text frame as it came."""

    text: str


class LinkHeard(Struct, frozen=True):
    """A pong: the peer's socket is alive."""


# --- the outbox (from the store, with each commit) ---------------------------------------------


class OutboxRow(Struct, frozen=True):
    """A durable message: immutable `body`, and what belongs to its sending."""

    row_id: int
    message_id: str
    action: str
    body: str
    """JSON object text; timestamps not yet known stand as "@<loop seconds>"."""
    boot_id: str
    """Boot whose loop clock the open timestamps count on."""
    created_s: float
    """Loop time it was recorded, on the clock of `boot_id`."""
    offline: bool
    """Happened while the station was offline."""
    attempts: int


class OutboxHead(Struct, frozen=True):
    """The oldest waiting row, None when the outbox is empty, and how many wait."""

    row: OutboxRow | None
    waiting: int
    following: tuple[OutboxRow, ...] = ()
    """Rows behind it, as many as the store has at hand, in their order."""


# --- security ---------------------------------------------------------------------------------


class CertificateFacts(Struct, frozen=True):
    """What an X.509 certificate says; times are UTC seconds."""

    fingerprint: str
    """SHA-256 of the certificate, 64 hex digits."""
    serial: str
    """Hex digits without leading zeros."""
    common_name: str
    organization: str
    not_before_s: float
    not_after_s: float
    is_authority: bool
    hashes: dict[str, tuple[str, str]]
    """HashAlgorithmEnumType -> (issuerNameHash, issuerKeyHash) in hex digits."""
    may_sign: bool = True
    """Its key may sign what is no certificate, firmware for one."""


class KeyMade(Struct, frozen=True):
    """Answer to the effect MakeKey: the key is on the disk; or there is a problem."""

    key: str
    request: str = ""
    """Certificate signing request, PEM (RFC 2986)."""
    problem: str = ""


class CertificateChecked(Struct, frozen=True):
    """Answer to the effect CheckCertificate: what the chain says, the certificate itself first."""

    question: str
    chain: tuple[CertificateFacts, ...] = ()
    vouched_by: str = ""
    """Fingerprint of the root that vouches for it; its own when it is one of them."""
    problem: str = ""
    """Why the chain is no good."""
    trouble: str = ""
    """Why it could not be looked at: not the chain's fault."""


class SecurityNoted(Struct, frozen=True):
    """Something of the standard's list of security events happened (A04)."""

    type: str
    info: str = ""
