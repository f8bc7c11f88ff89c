"""How a meter is wired: its values as those of the supply's phases, in the direction of the EV."""

from collections.abc import Mapping
from types import MappingProxyType

from drivers.contract import ModbusMeterOptions
from drivers.meters.coding import FieldName

Values = Mapping[str, float | str | None]

ROTATIONS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "RST": (1, 2, 3),
        "RTS": (1, 3, 2),
        "SRT": (2, 1, 3),
        "STR": (2, 3, 1),
        "TRS": (3, 1, 2),
        "TSR": (3, 2, 1),
    }
)
"""Supply phases at the meter's terminals 1, 2, 3: R is L1, S is L2, T is L3."""


def number(value: float | str | None) -> float | None:
    """The value where it is a number."""
    return value if isinstance(value, float) else None


def energy_field(options: ModbusMeterOptions) -> FieldName:
    """The register that counts what the EV takes."""
    return "energy_export" if options.reversed else "energy_import"


def export_field(options: ModbusMeterOptions) -> FieldName:
    """The register that counts what flows back."""
    return "energy_import" if options.reversed else "energy_export"


def power_w(values: Values, options: ModbusMeterOptions) -> float | None:
    """Total power, positive towards the EV; some meters split it by direction."""
    total = number(values.get("power_total"))
    if total is None:
        taken = number(values.get("power_import"))
        total = None if taken is None else taken - (number(values.get("power_export")) or 0.0)
    return _towards_the_ev(total, options)


def phases(
    values: Values, quantity: str, count: int, options: ModbusMeterOptions
) -> tuple[float, ...]:
    """L1..L3 of the supply (one entry on one phase); empty where the meter lacks one."""
    at_terminals = [number(values.get(f"{quantity}_l{n}")) for n in range(1, count + 1)]
    if count == 3:
        order = ROTATIONS[options.phase_rotation]
        at_terminals = [at_terminals[order.index(phase)] for phase in (1, 2, 3)]
    known = tuple(value for value in at_terminals if value is not None)
    if len(known) < count:
        return ()
    if quantity == "voltage":
        return known
    if quantity == "current":
        return tuple(abs(value) for value in known)
    return tuple(_towards_the_ev(value, options) or 0.0 for value in known)


def _towards_the_ev(value: float | None, options: ModbusMeterOptions) -> float | None:
    return -value if value is not None and options.reversed else value
