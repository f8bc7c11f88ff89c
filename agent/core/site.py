"""The wiring as the core needs it: which connectors there are, and what they can carry."""

from msgspec import Struct


class ConnectorSite(Struct, frozen=True):
    """What never changes about a connector: ratings in A per phase."""

    connector_id: int
    controller_a: float
    connector_a: float
    min_a: float = 6.0
    fixed_cable: bool = True
    has_lock: bool = False


class EvseSite(Struct, frozen=True):
    evse_id: int
    connectors: tuple[ConnectorSite, ...]


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
