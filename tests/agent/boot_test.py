"""Why the process started, by table."""

import json

import pytest

from agent.boot import read_boot
from agent.core.events import Now, StopCause
from drivers.contract import Permit

SAME = {"meta/boot_id": "b"}


def at(mono_s: float, boot_id: str) -> Now:
    return Now(mono_s, 0.0, False, boot_id, Permit(0), lambda: 0.5, lambda: "id")


@pytest.mark.parametrize(
    ("saved", "cause", "reason", "looping"),
    [
        ({}, StopCause.POWER_LOSS, "PowerUp", False),
        ({"meta/boot_id": "old"}, StopCause.POWER_LOSS, "PowerUp", False),
        ({"meta/boot_id": "old", "meta/clean": "1"}, StopCause.REBOOT, "PowerUp", False),
        ({"meta/boot_id": "b"}, StopCause.REBOOT, "Watchdog", False),
        ({"meta/boot_id": "b", "meta/clean": "1"}, StopCause.REBOOT, "ApplicationReset", False),
        ({"meta/boot_id": "b", "meta/crashes": "[950.0]"}, StopCause.REBOOT, "Watchdog", False),
        (SAME | {"meta/crashes": "[500.0,900.0]"}, StopCause.REBOOT, "Watchdog", True),
        (SAME | {"meta/crashes": "[399.0,900.0]"}, StopCause.REBOOT, "Watchdog", False),
        (
            {"meta/boot_id": "b", "meta/crashes": "[500.0,900.0]", "meta/clean": "1"},
            StopCause.REBOOT,
            "ApplicationReset",
            False,
        ),
        (
            {"meta/boot_id": "old", "meta/crashes": "[500.0,900.0]"},
            StopCause.POWER_LOSS,
            "PowerUp",
            False,
        ),
        ({"meta/boot_id": "b", "meta/crashes": "spoiled"}, StopCause.REBOOT, "Watchdog", False),
    ],
)
def test_a_start_by_what_the_last_process_left(
    saved: dict[str, str], cause: StopCause, reason: str, looping: bool
) -> None:
    boot = read_boot(saved, at(1000.0, "b"))
    assert (boot.cause, boot.reason, boot.is_looping) == (cause, reason, looping)
    saves = dict(boot.saves)
    assert saves["meta/boot_id"] == "b"
    assert saves["meta/clean"] is None, "this process has not ended cleanly yet"


def test_crashes_are_remembered_from_start_to_start_and_only_the_last_three() -> None:
    saved: dict[str, str] = {"meta/boot_id": "b"}
    looping = []
    for mono_s in (1000, 1300, 1599, 1700, 9000, 9001):
        boot = read_boot(saved, at(float(mono_s), "b"))
        looping.append(boot.is_looping)
        saved |= {key: value for key, value in boot.saves if value is not None}
    assert looping == [False, False, True, True, False, False]
    assert len(json.loads(saved["meta/crashes"])) == 3
