"""Orders to the world, in the four kinds that `runtime.perform` carries out in this order."""

from msgspec import Struct

from agent.core.events import IdToken, TokenInfo
from drivers.contract import MeterReading, Payer, Permit, Signing

# --- 1 safe -----------------------------------------------------------------------------------


class StopPower(Struct, frozen=True):
    evse_id: int
    connector_id: int
    emergency: bool = False


class WithdrawCurrent(Struct, frozen=True):
    """Offer at most `limit_a`; never lets anything be energised."""

    evse_id: int
    connector_id: int
    limit_a: float


# --- 2 durable --------------------------------------------------------------------------------


class MeterSample(Struct, frozen=True):
    """A reading with the reason it was taken (ReadingContextEnumType)."""

    context: str
    reading: MeterReading


class Metered(Struct, frozen=True):
    """A value of an EVSE that belongs to no transaction (J01)."""

    evse_id: int
    sample: MeterSample


class Record(Struct, frozen=True):
    """A transaction event that happened, to be stored for ever until the CSMS has it (E)."""

    event_type: str
    trigger_reason: str
    transaction_id: str
    seq_no: int
    at_s: float
    evse_id: int
    connector_id: int | None = None
    """Told with the first event after the EV was plugged in (E01.FR.16)."""
    known_connector_id: int | None = None
    """Where the EV is or was plugged in, in every event."""
    charging_state: str | None = None
    stopped_reason: str | None = None
    remote_start_id: int | None = None
    token: IdToken | None = None
    samples: tuple[MeterSample, ...] = ()
    phases_used: int | None = None
    is_begin_signed: bool = False
    """The begin value was told with a signature, or is now."""
    cable_max_a: float | None = None
    reservation_id: int | None = None


class Enqueue(Struct, frozen=True):
    """A finished message body for the outbox (what a block made of a Record)."""

    message_id: str
    action: str
    body: str
    offline: bool
    event_type: str = ""
    """Started and Ended are never thinned out."""


class Save(Struct, frozen=True):
    """Keep `value` (JSON text) under `key`; None deletes."""

    key: str
    value: str | None


class SaveToken(Struct, frozen=True):
    """Keep what the CSMS said of a token (authorization cache, C10)."""

    token: IdToken
    info: TokenInfo


class ForgetToken(Struct, frozen=True):
    """Take one token out of the authorization cache (N10)."""

    token: IdToken


class ForgetTokens(Struct, frozen=True):
    """Empty the authorization cache (C11)."""


class SettleRow(Struct, frozen=True):
    """An outbox row was answered: delete it together with the answer's consequences."""

    row_id: int


class CountAttempt(Struct, frozen=True):
    """A send of a row failed; remember that over restarts."""

    row_id: int
    reason: str


class SetAside(Struct, frozen=True):
    """Refused to the end: take a row out of the queue, keep it with its reason."""

    row_id: int
    reason: str


class FreezeBody(Struct, frozen=True):
    """A row is sent for the first time with times that were open: from now on they stand."""

    row_id: int
    body: str


class FindRows(Struct, frozen=True):
    """Ask the store whether a message waits whose body contains `part`; comes back as RowsFound."""

    question: str
    action: str
    part: str


class FindMessages(Struct, frozen=True):
    """Ask the store which messages contain `part` in any case, waiting and set aside; comes back as
    MessagesFound."""

    question: str
    part: str


class FetchHead(Struct, frozen=True):
    """Ask the store for the oldest waiting row; comes back as OutboxHead."""


# --- 3 energise -------------------------------------------------------------------------------


class AllowPower(Struct, frozen=True):
    """Let the power path close at `limit_a` per phase, if the permit still holds."""

    evse_id: int
    connector_id: int
    limit_a: float
    permit: Permit
    digital: bool = False
    """Offer the 5 % duty cycle of ISO 15118 instead of a current."""


class LockPlug(Struct, frozen=True):
    evse_id: int
    connector_id: int
    locked: bool


# --- 4 tell -----------------------------------------------------------------------------------


class ReadMeter(Struct, frozen=True):
    evse_id: int
    signing: Signing = Signing.NONE
    """What a signature is wanted for, of meters that sign when asked."""
    payer: Payer | None = None
    """Who is to stand in it."""


class LookUp(Struct, frozen=True):
    """Ask the authorization cache; comes back as LookedUp."""

    token: IdToken


class AskCsms(Struct, frozen=True):
    """Have the CSMS judge a token (Authorize); comes back as TokenAnswered or TokenUnanswered."""

    token: IdToken


class StatusChanged(Struct, frozen=True):
    """The connector's OCPP status is another one now (G01)."""

    evse_id: int
    connector_id: int
    status: str
    at_s: float


class LockProblem(Struct, frozen=True):
    """The plug lock of a socket does not close, or that is over (G05.FR.02)."""

    evse_id: int
    connector_id: int
    stands: bool
    at_s: float


class Show(Struct, frozen=True):
    """Something the driver or technician at the charger should see; one line, no secrets."""

    evse_id: int
    text: str


class Announce(Struct, frozen=True):
    """A core event for the other pure rooms, handled in the same turn."""

    event: object


class Restart(Struct, frozen=True):
    """Start the process ("process") or the board ("board") anew."""

    scope: str
    reason: str


class Dial(Struct, frozen=True):
    """Open a websocket to `url` (identity included)."""

    slot: int
    url: str
    user: str
    security_profile: int
    open_timeout_s: float
    ping_interval_s: float


class Hangup(Struct, frozen=True):
    reason: str


class SendFrame(Struct, frozen=True):
    text: str


class Chore(Struct, frozen=True):
    """Base of short work that may not hold up the loop, done one after the other in the sequence
    ordered; what comes of it is an event of its own."""


class MakeKey(Chore, frozen=True):
    """Make a private key on this station, kept in a file of that name, and a request to have it
    certified; comes back as KeyMade."""

    key: str
    common_name: str
    organization: str


class CheckCertificate(Chore, frozen=True):
    """Read a chain (PEM, the certificate itself first) and find who vouches for it; comes back as
    CertificateChecked."""

    question: str
    chain: str
    roots: tuple[str, ...] = ()
    """PEM of who may vouch."""
    key: str = ""
    """Name of the private key that the certificate must belong to; "": any."""


class KeepKeys(Chore, frozen=True):
    """Remove all private keys but these from the disk."""

    keys: tuple[str, ...]


class LogSecurity(Chore, frozen=True):
    """One line for the security log (A04.FR.02)."""

    type: str
    utc_s: float
    info: str = ""


class Log(Struct, frozen=True):
    """A line for the journal: level of syslog (3 error, 4 warning, 5 notice, 6 info)."""

    level: int
    text: str
