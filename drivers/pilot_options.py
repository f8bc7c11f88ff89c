"""What charger.yaml says of pilot controllers on Modbus (part of the contract)."""

from typing import Literal

from msgspec import Struct

HostLoss = Literal["undecided", "interlock", "keeps_charging"]


class EvseWbOptions(
    Struct, frozen=True, tag_field="driver", tag="evse_wb", forbid_unknown_fields=True
):
    """EVSE-WB, EVSE-DIN or SimpleEVSE controller on Modbus RTU (9600 baud, 8N1, unit 1)."""

    line: str
    """Name of the entry under `lines` that it hangs on; best one of its own."""
    unit: int = 1
    """Modbus unit id, 1 to 247."""
    poll_s: float = 1.0
    timeout_s: float = 0.5
    delay_s: float = 0.02
    """Pause before each read; some setups need 0.2."""
    host_loss: HostLoss = "undecided"
    """It goes on charging when this board dies. interlock: a relay in the contactor's coil circuit
    opens then; keeps_charging: nobody stops it, and that is accepted."""
    relay_bit_inverted: bool = False
    """Bit 0 of register 1007 is set while the relay is off (some firmware)."""
    rcd_test: bool = False
    """An RCD sensor is wired to it (register 2005 bit 4): it is tested, for half a minute, at the
    start and each time the connector has become free; what fails sells nothing."""


class PhoenixOptions(
    Struct, frozen=True, tag_field="driver", tag="phoenix_ev_cc", forbid_unknown_fields=True
):
    """Phoenix Contact EV Charge Control Basic (EV-CC-AC1-M3-...-SER) on Modbus. Its switch S1/DIP 2
    has to be ON: without it, as with an EV-RCM at input XR, nothing can cut off under load."""

    line: str
    """Name of the entry under `lines` that it hangs on; best one of its own."""
    unit: int = 1
    """Modbus unit id as its switches say, 1 to 247."""
    poll_s: float = 1.0
    timeout_s: float = 0.5
    delay_s: float = 0.02
    """Pause before each read."""
    host_loss: HostLoss = "undecided"
    """It goes on charging when this board dies. interlock: a relay in the contactor's coil circuit
    opens then; keeps_charging: nobody stops it, and that is accepted."""
    contactor_feedback: bool = False
    """A force-guided break contact of the contactor is wired to its input CCR."""
    lock: bool = False
    """A socket's lock is wired to it, and its switch S1/DIP 3 is ON."""
