"""The facts of one EVSE, and what can be read off them."""

from msgspec import Struct

from agent.core.connector import Connector
from agent.core.ending import Ending
from agent.core.events import IdToken
from agent.core.metering import Metering
from agent.core.sampling import Sampling
from agent.core.status import connector_status
from agent.core.transaction import Transaction

LAPSED = ("Timeout", "EVDisconnected")


class Grant(Struct, frozen=True):
    """An authorisation in force. `deadline_s`: plug in before, or it lapses (C01.FR.26)."""

    token: IdToken
    group: IdToken | None
    deadline_s: float
    remote_start_id: int | None = None
    in_person: bool = False
    """Presented at the station itself."""


class Opening(Struct, frozen=True):
    """A session that waits for its begin reading, and what will be told as its trigger."""

    trigger: str
    since_s: float


class EvseFacts:
    """Facts, authorisation and transaction of one EVSE."""

    def __init__(self, evse_id: int, connectors: tuple[Connector, ...]) -> None:
        self.evse_id = evse_id
        self.connectors = {c.connector_id: c for c in connectors}
        self.metering = Metering()
        self.sampling = Sampling()
        self.grant: Grant | None = None
        self.transaction: Transaction | None = None
        self.ending: Ending | None = None
        self.operative = True
        self.station_operative = True
        self.is_expected = False
        """A driver whose transaction runs already may plug in here: no other one begins."""
        self.update_pending = False
        """A firmware update waits for the last transactions, or goes on (L01.FR.07)."""
        self.resetting = False
        """A reset goes on here: nothing new begins."""
        self.finished_token: IdToken | None = None
        self.opening: Opening | None = None
        self.revoked = False
        """The CSMS refused the token but the transaction goes on without energy (E05.FR.02)."""
        self.starved = False
        """Wants power, but the limits leave less than the minimum."""
        self.has_charged = False
        """Energy flowed since the EV was plugged in."""
        self.unseen_since_s: float | None = None
        self.followed_s: float | None = None
        """When conclusions were drawn last: what fell due here since has not been seen to."""
        self.budget_to_wh: float | None = None
        """The CSMS refused the token; energy flows until the meter shows this (E05.FR.03)."""
        self.bay_occupied = False
        self.bay_used = False
        """Whoever stands in the bay had a transaction: another one needs more than standing."""
        self.values_asked_s: float | None = None
        """Since when the CSMS waits for values that the meter has yet to sign."""
        self.event_asked_s: float | None = None
        """The same of an event of the transaction."""
        self.is_muted = False
        """No clock-aligned values now (J01.FR.20)."""

    @property
    def active(self) -> Connector | None:
        """The connector of the transaction, else the plugged one that waits longest."""
        if self.transaction is not None and self.transaction.connector_id is not None:
            return self.connectors[self.transaction.connector_id]
        plugged = [c for c in self.connectors.values() if c.plugged]
        return min(plugged, key=lambda c: (c.session_over, c.plugged_at_s), default=None)

    @property
    def connected(self) -> bool:
        active = self.active
        return active is not None and active.plugged

    @property
    def session_over(self) -> bool:
        """The plugged EV had its session; a new one needs a new grant."""
        active = self.active
        return active is not None and active.session_over

    def tripped_after(self, asked_s: float) -> bool:
        """A residual current ended the charge of the plugged EV, and who asked did not know it."""
        active = self.active
        return active is not None and active.tripped and active.tripped_s >= asked_s

    @property
    def free(self) -> bool:
        """A new authorisation could be taken (C01.FR.23: nobody takes over a transaction)."""
        untaken = self.transaction is None or self.transaction.token is None
        active = self.active
        candidates = [active] if active is not None else list(self.connectors.values())
        usable = any(self._usable(c) for c in candidates)
        taken = self.resetting or self.grant is not None or self.ending is not None
        return not taken and untaken and usable

    def resumes(self, token: IdToken) -> bool:
        """The driver whose authorisation lapsed, which nobody wanted, may have it again while the
        transaction goes on (E03.FR.15, E09.FR.01)."""
        transaction = self.transaction
        if transaction is None or not transaction.started or self.ending is not None:
            return False
        has_lapsed = self.grant is None and transaction.stopped_reason in LAPSED
        return has_lapsed and not self.revoked and token.same_as(transaction.token)

    @property
    def awaits_card(self) -> bool:
        """An EV is plugged in that nobody has authorised yet."""
        return self.free and self.connected and not self.session_over

    @property
    def awaits_in_bay(self) -> bool:
        """An EV stands in the bay, not plugged in, and nobody has authorised it yet."""
        is_new = self.transaction is not None or not self.bay_used
        return self.free and self.bay_occupied and is_new and not self.connected

    def status(self, connector_id: int) -> str:
        connector = self.connectors[connector_id]
        charges = self.transaction is not None and connector is self.active
        busy = charges and (connector.plugged or self.ending is None)
        is_kept = charges or connector.cable_owner is not None
        return connector_status(
            faulted=bool(connector.faults),
            operative=self.is_operative(connector) or busy,
            reserved=False,
            occupied=connector.plugged or (is_kept and connector.holds_cable),
        )

    def is_operative(self, connector: Connector) -> bool:
        allowed = self.station_operative and self.operative and not self.update_pending
        return allowed and connector.operative

    def _usable(self, connector: Connector) -> bool:
        return self.is_operative(connector) and not connector.faults

    def wants_power(self) -> Connector | None:
        """The connector that may be energised now as far as this EVSE alone can tell; not before
        its plug is locked (G05.FR.01)."""
        active, transaction = self.active, self.transaction
        if transaction is None or self.ending is not None or self.grant is None:
            return None
        if transaction.begin is None:
            return None
        if active is None or not active.energisable or active.faults or self.revoked:
            return None
        return active if active.is_secured else None

    def open_since_s(self, now_s: float) -> float | None:
        """When the last power path of this EVSE was seen open for good; None while one is not."""
        if any(connector.may_close(now_s) for connector in self.connectors.values()):
            return None
        times = [c.open_since_s for c in self.connectors.values()]
        return None if any(t is None for t in times) else max(t for t in times if t is not None)

    def settles_s(self) -> float | None:
        """When an open path counts though the controller says nothing more."""
        times = [c.settles_s for c in self.connectors.values()]
        return max((t for t in times if t is not None), default=None)
