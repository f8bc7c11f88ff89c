"""What the pure rooms ask of the store, and the facts that come back."""

import logging

import msgspec

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import TokenInfo
from agent.store.db import Store
from agent.store.rows import HeadRow, StoreFault

log = logging.getLogger(__name__)

MOST_MESSAGES = 100
"""Of each state; what is asked for one driver is read by a human."""


async def ask_store(store: Store, question: object) -> object | None:
    """The fact that answers; None where a store that cannot be read has nothing to say."""
    match question:
        case ef.LookUp():
            return await _look_up(store, question)
        case ef.FindRows():
            return await _find_rows(store, question)
        case ef.FindMessages():
            return await _find_messages(store, question)
        case _:
            raise TypeError(f"the store is not asked {type(question).__name__}")


async def _find_rows(store: Store, effect: ef.FindRows) -> ev.RowsFound | None:
    try:
        return ev.RowsFound(effect.question, await store.holds(effect.action, effect.part))
    except StoreFault as fault:
        log.error("outbox: %s", fault)
        return None


async def _look_up(store: Store, effect: ef.LookUp) -> ev.LookedUp:
    """An unreadable or unreachable cache is an empty one: the CSMS is asked."""
    token, info = effect.token, None
    try:
        text = await store.look_up(*token.key)
        info = msgspec.json.decode(text, type=TokenInfo) if text is not None else None
    except (StoreFault, msgspec.MsgspecError) as fault:
        log.error("authorization cache: %s", fault)
    return ev.LookedUp(token, info)


async def _find_messages(store: Store, effect: ef.FindMessages) -> ev.MessagesFound:
    """Those of both states; an unreadable queue says so."""
    try:
        waiting = await store.mentions(effect.part, MOST_MESSAGES, set_aside=False)
        set_aside = await store.mentions(effect.part, MOST_MESSAGES, set_aside=True)
    except StoreFault as fault:
        log.error("outbox: %s", fault)
        return ev.MessagesFound(effect.question, (), is_readable=False)
    found = [_kept(row, False) for row in waiting] + [_kept(row, True) for row in set_aside]
    return ev.MessagesFound(effect.question, tuple(found))


def _kept(row: HeadRow, is_set_aside: bool) -> ev.KeptMessage:
    return ev.KeptMessage(row.action, row.body, is_set_aside, row.reason)
