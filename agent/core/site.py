"""The wiring as the core needs it: which connectors there are, and what they can carry."""

from msgspec import Struct

from agent.core.connector import STILL_CLOSES_S


class ConnectorSite(Struct, frozen=True):
    """What never changes about a connector: ratings in A per phase."""

    connector_id: int
    controller_a: float
    connector_a: float
    min_a: float = 6.0
    fixed_cable: bool = True
    has_lock: bool = False
    still_closes_s: float = STILL_CLOSES_S
    """How long after a stop an open path is not believed yet."""


class EvseSite(Struct, frozen=True):
    evse_id: int
    connectors: tuple[ConnectorSite, ...]


class Safety(Struct, frozen=True):
    """What the technician decided for this place; 0 and None switch a thing off."""

    rcd_needs_service: bool = False
    """After a residual current nobody charges until service came; else the next driver may."""
    random_delay_s: float = 0.0
    """Most that is waited, by chance, before load comes back: after the mains returned, and where
    a schedule allows a running charge more."""
    csms_silent_s: float = 0.0
    """Without the CSMS for this long, `failsafe_a` is the most that is offered."""
    failsafe_a: float = 6.0
    """A per phase; 0: nothing."""
    derate_from_c: float | None = None
    """Above this temperature less is offered, in a straight line."""
    stop_at_c: float = 80.0
    """From this temperature on nothing, until it is down at `derate_from_c` again."""
    wake_up_s: float = 0.0
    """An EV that does not take its offer for this long is woken once, by a pause of the offer."""


class EnergyManager(Struct, frozen=True):
    """A local energy manager is to speak at least every `silent_s`."""

    silent_s: float = 60.0
    failsafe_a: float = 6.0
    """A per phase for all EVSEs together while it is silent."""


class Site(Struct, frozen=True):
    """The wiring as the core needs it. `supply_a`: per phase, for all EVSEs together."""

    evses: tuple[EvseSite, ...]
    supply_a: float
    phases: int = 3
    voltage_v: float = 230.0
    has_keypad: bool = False
    """Somebody at the station can type a number: the user interface of the master pass."""
    main_meter_interval_s: float | None = None
    """How often the meter at the grid connection is read; None: there is none."""
    reset_scope: str = "process"
    """What a Reset of the station starts anew: "process" or "board"."""
    safety: Safety = Safety()
    energy_manager: EnergyManager | None = None
    """None: nobody but the CSMS steers."""
