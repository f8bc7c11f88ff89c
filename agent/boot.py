"""Why this process started, from what the last one left behind; and what it leaves itself."""

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.core.events import Now, StopCause
from agent.settings import Settings

log = logging.getLogger(__name__)

WIRING = "wiring.json"
"""File of the wiring of the last good start."""
CRASHES_KEPT = 3
LOOP_S = 600.0
"""Three crashes within this time: start, but do not sell."""


class Boot(Struct, frozen=True):
    """What to tell the rooms, and what to remember for the next start."""

    cause: StopCause
    reason: str
    """BootReasonEnumType."""
    is_looping: bool
    saves: tuple[tuple[str, str | None], ...]


def read_boot(saved: Mapping[str, str], now: Now) -> Boot:
    """A new boot id means power was gone, the same one a crash; neither after an ordered stop."""
    ordered = saved.get("meta/restart")
    last_boot = saved.get("meta/boot_id")
    cold = last_boot != now.boot_id
    clean = "meta/clean" in saved or ordered is not None
    crashes = [] if cold or clean else [*_crashes(saved), now.mono_s][-CRASHES_KEPT:]
    looping = len(crashes) == CRASHES_KEPT and crashes[-1] - crashes[0] <= LOOP_S
    saves: tuple[tuple[str, str | None], ...] = (
        ("meta/boot_id", now.boot_id),
        ("meta/clean", None),
        ("meta/restart", None),
        ("meta/crashes", msgspec.json.encode(crashes).decode()),
    )
    if ordered is not None:
        return Boot(StopCause.REBOOT, ordered, False, saves)
    if cold:
        cause = StopCause.REBOOT if clean else StopCause.POWER_LOSS
        return Boot(cause, "PowerUp", False, saves)
    reason = "ApplicationReset" if clean else "Watchdog"
    return Boot(StopCause.REBOOT, reason, looping, saves)


def _crashes(saved: Mapping[str, str]) -> list[float]:
    try:
        return msgspec.json.decode(saved.get("meta/crashes", "[]"), type=list[float])
    except msgspec.MsgspecError:
        return []


def save_wiring(settings: Settings) -> None:
    """Keeps the wiring of a good start without secrets, so that `safe-off` finds the contactor."""
    bare = tuple(
        msgspec.structs.replace(c, password=None, password_file=None) for c in settings.csms
    )
    path = Path(settings.data_directory, WIRING)
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(msgspec.json.encode(msgspec.structs.replace(settings, csms=bare)))
        draft.chmod(0o600)
        draft.replace(path)
    except OSError as error:
        log.error(
            "%s cannot be kept (%s): `chargepoint safe-off` uses the wiring of the last start;"
            " check space (`df -h`) and owner of the directory",
            path,
            error.strerror,
        )
