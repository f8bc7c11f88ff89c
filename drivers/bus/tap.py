"""Bytes on the lines, for somebody who looks on; while nobody does, nothing is done."""

from collections.abc import Callable

from msgspec import Struct

Seen = Callable[[str, bool, bytes], None]
"""(port, whether they leave, the bytes); on a Modbus line all that came since the request."""


class Tap(Struct):
    seen: Seen | None = None


TAP = Tap()
"""Of all lines of this process."""
