import pytest

from drivers.contract import PilotState, PowerPath
from drivers.pilots.openevse_view import View, from_change, from_status
from drivers.pilots.rapi import Frame


@pytest.mark.parametrize(
    ("state", "pilot", "flags", "pilot_state", "path", "offered_a", "faults"),
    [
        (0x01, 1, 0x0000, "A", "open", 16, ""),
        (0x02, 2, 0x0100, "B", "open", 16, ""),
        (0x03, 3, 0x0140, "C", "closed", 16, ""),
        (0x02, 3, 0x0100, "C", "open", 16, ""),
        (0xFE, 1, 0x0000, "A", "open", 0, ""),
        (0xFE, 2, 0x0100, "B", "open", 0, ""),
        (0xFE, 3, 0x0140, "C", "closed", 0, ""),
        (0xFE, 0, 0x0100, "B", "open", 0, ""),
        (0xFF, 3, 0x0100, "F", "open", 0, ""),
        (0x00, 0, 0x0200, "unknown", "open", 0, ""),
        (0x04, 4, 0x0100, "D", "open", 0, "ventilation_required"),
        (0x05, 2, 0x0100, "B", "open", 0, "diode"),
        (0x06, 3, 0x0180, "C", "open", 0, "rcd"),
        (0x07, 3, 0x0120, "C", "open", 0, "ground"),
        (0x08, 3, 0x0142, "C", "closed", 0, "welded_contactor hard_fault"),
        (0x08, 2, 0x0102, "B", "closed", 0, "welded_contactor hard_fault"),
        (0x09, 1, 0x0002, "A", "open", 0, "rcd_self_test hard_fault"),
        (0x0A, 3, 0x0100, "C", "open", 0, "over_temperature"),
        (0x0B, 3, 0x0100, "C", "open", 0, "over_current"),
        (0x0E, 3, 0x0100, "C", "open", 0, "contactor_did_not_close"),
        (0xFE, 1, 0x0082, "A", "open", 0, "hard_fault rcd"),
        (0x01, 1, 0x00A0, "A", "open", 16, ""),
    ],
)
def test_states_and_flags_become_a_reading(
    state: int, pilot: int, flags: int, pilot_state: str, path: str, offered_a: float, faults: str
) -> None:
    reading = View(5.0, state, pilot, flags, 16).reading()
    assert reading.at_s == 5.0
    assert reading.state is PilotState(pilot_state)
    assert reading.power_path is PowerPath(path)
    assert reading.offered_a == offered_a
    assert reading.faults == frozenset(faults.split())


def test_status_and_change_frames_put_their_arguments_in_place() -> None:
    status = from_status(Frame("OK", ("fe", "12", "02", "0100")), 13, 1.0)
    assert status == View(1.0, 0xFE, 2, 0x100, 13)
    assert from_change(Frame("AT", ("03", "03", "32", "0140")), 2.0) == View(2.0, 3, 3, 0x140, 32)
    with pytest.raises(ValueError, match="argument"):
        from_change(Frame("AT", ("03",)), 2.0)
