"""What a pilot controller was ordered last; it stands until the next order."""

from enum import StrEnum


class Wish(StrEnum):
    ALLOW = "allow"
    STOP = "stop"
    EMERGENCY_STOP = "emergency_stop"
