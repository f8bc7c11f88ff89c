"""What all readers do with a card: it is presented once, and reported or refused."""

import asyncio
import logging
from collections.abc import Callable

from drivers.contract import CardRefused, CardSeen, Report
from drivers.readers.uid import Refused

log = logging.getLogger(__name__)

REPEAT_S = 1.5
"""A card that stays at the reader is read again and again: one presentation."""


class Presenting:
    """The cards of one reader. Numbers of cards never stand in the journal."""

    def __init__(self, name: str, token_type: str) -> None:
        self._name = name
        self._token_type = token_type
        self._last = ""
        self._last_at_s = 0.0

    def present(self, read: str, convert: Callable[[], str], report: Report) -> None:
        """`read`: what the reader sent; `convert` gives the card's number or raises Refused."""
        now_s = asyncio.get_running_loop().time()
        repeated = read == self._last and now_s - self._last_at_s < REPEAT_S
        self._last, self._last_at_s = read, now_s
        if repeated:
            return
        try:
            uid = convert()
        except Refused as reason:
            log.warning("reader %s: card refused: %s", self._name, reason)
            report(CardRefused(self._name, str(reason), read))
            return
        report(CardSeen(self._name, uid, self._token_type, read))
