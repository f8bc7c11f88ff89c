"""The master pass (C16): whose token stops what others started, and how it is chosen."""

from msgspec import Struct

from agent.core.events import IdToken
from agent.core.policy import Policy

CHOICE_S = 60.0
"""How long a master pass waits for a number; then all is as before (C16, error handling)."""
CHOICE_TEXT = "Master pass: type the number of the EVSE to stop, 0 stops all"


class Choice(Struct, frozen=True):
    """A master pass was presented where a number can be typed."""

    token: IdToken
    until_s: float


def is_master(group: IdToken | None, policy: Policy) -> bool:
    """C16.FR.03: the token belongs to the group that AuthCtrlr.MasterPassGroupId names."""
    wanted = policy.master_pass_group_id
    return bool(wanted) and group is not None and group.value.lower() == wanted.lower()


def chosen(number: str, evse_ids: tuple[int, ...]) -> tuple[int, ...] | None:
    """EVSEs that a typed number means; None when it means none."""
    if not number.isascii() or not number.isdigit():
        return None
    if int(number) == 0:
        return evse_ids
    return (int(number),) if int(number) in evse_ids else None
