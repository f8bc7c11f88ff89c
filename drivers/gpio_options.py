"""What charger.yaml says of GPIO lines: contactor, lock, inputs and lamps (part of the contract).

A line is `gpiochip0:17` (chip and offset), the line's own name as `gpioinfo` shows it, or
`pi:GPIO17` for gpiozero's own access to a Raspberry Pi.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class GpioInput(Struct, frozen=True, forbid_unknown_fields=True):
    """A line that is read. Active means: high, or low with `active_low`."""

    line: str
    """gpiochip0:17, a line's own name (gpioinfo shows them), or pi:GPIO17."""
    active_low: bool = False
    pull: Literal["up", "down", "none"] = "none"
    """Resistor inside the chip; `none` where the circuit has one."""
    debounce_s: Annotated[float, Meta(ge=0, le=0.1)] = 0.005
    """A level counts once it stood so long; it is added to every reaction."""


class GpioOutput(Struct, frozen=True, forbid_unknown_fields=True):
    """A line that is driven: high when on, or low with `active_low`. Off at start and end."""

    line: str
    """gpiochip0:17, a line's own name (gpioinfo shows them), or pi:GPIO17."""
    active_low: bool = False
    """On while the line is low: most boards boot with such a relay on; better avoid it."""


class GpioSwitch(Struct, frozen=True, forbid_unknown_fields=True):
    """A contactor's coil and the auxiliary contact that tells where its main contacts are."""

    coil: GpioOutput
    aux: GpioInput
    """Active while the main contacts are closed. A mirror contact (closed while they are open) to
    ground with `pull: up` is active like this, and a broken wire looks welded."""


class GpioLock(Struct, frozen=True, forbid_unknown_fields=True):
    """A plug lock moved by pulses on two outputs (H bridge), never on both."""

    close: GpioOutput
    open: GpioOutput
    feedback: GpioInput
    """Active while the plug is locked."""
    pulse_s: Annotated[float, Meta(ge=0.05, le=5)] = 0.6


class GpioContactorOptions(
    Struct, frozen=True, tag_field="driver", tag="gpio_contactor", forbid_unknown_fields=True
):
    """A contactor on GPIO lines together with a controller that only speaks pilot."""

    controller: str
    """Name under `devices` of the pilot controller; the connector's `pilot` names this device."""
    contactor: GpioSwitch
    second: GpioSwitch | None = None
    """Second contactor, for phases 2 and 3: closes after the first one, opens together with it."""
    rcd: GpioInput | None = None
    """Active while the residual current device has tripped."""
    dc_fault: GpioInput | None = None
    """Output of the 6 mA DC monitor; active: fault."""
    dc_fault_test: GpioOutput | None = None
    """Its test input; it is tried before each closing."""
    alive: GpioOutput | None = None
    """Toggles while the agent works, for a monostable that cuts the coil's supply: docs/gpio.md."""
    lock: GpioLock | None = None
    """Plug lock, where the controller does not move it."""
    closes_within_s: Annotated[float, Meta(ge=0.1, le=2)] = 0.5
    """Longest time from coil to auxiliary contact when closing."""
    opens_within_s: Annotated[float, Meta(ge=0.1, le=2)] = 0.5
    """Longest time when opening; closed still, the contactor is welded."""


class GpioLamps(Struct, frozen=True, forbid_unknown_fields=True):
    """One lamp for each condition of the EVSEs that the board serves; any of them lights it."""

    available: GpioOutput | None = None
    occupied: GpioOutput | None = None
    charging: GpioOutput | None = None
    reserved: GpioOutput | None = None
    unavailable: GpioOutput | None = None
    faulted: GpioOutput | None = None


class GpioBoardOptions(
    Struct, frozen=True, tag_field="driver", tag="gpio_board", forbid_unknown_fields=True
):
    """Inputs and lamps on GPIO lines. A safety input that cannot be seen stops power."""

    evses: tuple[int, ...] = ()
    """EVSEs these inputs stop and these lamps show; empty means all of them."""
    emergency_stop: GpioInput | None = None
    """Active: stop. A normally closed button to ground with `pull: up` is active like this, and a
    broken wire stops."""
    rcd: GpioInput | None = None
    """Active while the residual current device has tripped."""
    dc_fault: GpioInput | None = None
    """Active while the 6 mA DC monitor reports a fault."""
    mains: GpioInput | None = None
    """Active while mains is present."""
    door: GpioInput | None = None
    """Active while the door is open: a security event for the CSMS; charging goes on."""
    inputs: dict[str, GpioInput] = field(default_factory=dict)
    """Others by name, for start_button and bay_sensor of an EVSE."""
    lamps: GpioLamps | None = None


GpioOptions = GpioContactorOptions | GpioBoardOptions
