"""The inbox, and what one turn of it comes to: rows of one commit, orders that still stand."""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.station_clock import ClockReading
from agent.store.rows import Batch, Committed, HeadRow, NewRow, TokenRow
from drivers.contract import Permit

MOST_FRAMES = 200
"""Facts that wait before the link is read on: a CSMS that floods waits in its own buffers. One that
speaks in turns never gets there."""
INBOX_LENGTH = 1_000
"""While nothing can be stored, frames beyond this are dropped: their sender gets no answer, either
way. Facts of the charger are few and all kept."""


class Posted(Struct, frozen=True):
    """A fact in the inbox."""

    event: object
    permit: Permit
    """Of the moment it was posted."""
    at_s: float
    """Loop time it was posted at."""


def thinned(inbox: Iterable[Posted]) -> deque[Posted]:
    """Readings pile up while nothing can be stored: only the newest of each meter counts, and the
    newest of each signature that it was asked for."""
    room = INBOX_LENGTH
    newest: set[object] = set()
    kept: deque[Posted] = deque()
    for posted in reversed(tuple(inbox)):
        event = posted.event
        place: object = type(event)
        if isinstance(event, ev.MeterRead):
            place = event.evse_id, event.reading.signing
        if isinstance(event, ev.MeterRead | ev.LinkHeard) and place in newest:
            continue
        if isinstance(event, ev.FrameReceived):
            room -= 1
            if room < 0:
                continue
        newest.add(place)
        kept.appendleft(posted)
    return kept


def standing_orders(effects: Sequence[object]) -> list[object]:
    """What is left to energise of a batch: a stop takes back the order before it, and a lower
    limit holds for it, although both were carried out first."""
    locks: list[object] = []
    orders: dict[tuple[int, int], ef.AllowPower] = {}
    for effect in effects:
        match effect:
            case ef.AllowPower(evse_id, connector_id):
                orders[evse_id, connector_id] = effect
            case ef.StopPower(evse_id, connector_id):
                orders.pop((evse_id, connector_id), None)
            case ef.WithdrawCurrent(evse_id, connector_id, limit_a):
                order = orders.get((evse_id, connector_id))
                if order is not None and limit_a < order.limit_a:
                    orders[evse_id, connector_id] = replace(order, limit_a=limit_a)
            case ef.LockPlug():
                locks.append(effect)
    return [*locks, *orders.values()]


def to_batch(effects: Sequence[object], clock: ClockReading) -> Batch:
    """Durable effects as rows; of several values for one key the last counts."""
    settle = tuple(e.row_id for e in effects if isinstance(e, ef.SettleRow))
    if len(settle) == len(effects):  # a queue drains
        return Batch(settle=settle)
    saves: dict[str, str | None] = {}
    tokens: list[TokenRow] = []
    for effect in effects:
        match effect:
            case ef.Save(key, value):
                saves[key] = value
            case ef.SaveToken(token, info):
                text = msgspec.json.encode(info).decode()
                tokens.append(TokenRow(*token.key, text, info.updated_s, info.accepted))
    return Batch(
        enqueue=tuple(
            NewRow(
                message_id=e.message_id,
                action=e.action,
                body=e.body,
                boot_id=clock.boot_id,
                offline=e.offline,
                event_type=e.event_type,
                created_s=clock.mono_s,
            )
            for e in effects
            if isinstance(e, ef.Enqueue)
        ),
        save=tuple(saves.items()),
        settle=settle,
        attempts=tuple((e.row_id, e.reason) for e in effects if isinstance(e, ef.CountAttempt)),
        set_aside=tuple((e.row_id, e.reason) for e in effects if isinstance(e, ef.SetAside)),
        freeze=tuple((e.row_id, e.body) for e in effects if isinstance(e, ef.FreezeBody)),
        save_tokens=tuple(tokens),
        forget=tuple(e.token.key for e in effects if isinstance(e, ef.ForgetToken)),
        forget_tokens=any(isinstance(e, ef.ForgetTokens) for e in effects),
    )


def moves_outbox(durable: Sequence[object], committed: Committed) -> bool:
    """More than answers was stored: who sends must hear what is oldest now. What is behind an
    answered row is known there already."""
    return committed.is_news or any(not isinstance(e, ef.SettleRow) for e in durable)


def outbox_head(committed: Committed) -> ev.OutboxHead:
    head = committed.head
    following = tuple(_outbox_row(row) for row in committed.following)
    return ev.OutboxHead(_outbox_row(head) if head else None, committed.waiting, following)


def _outbox_row(row: HeadRow) -> ev.OutboxRow:
    return ev.OutboxRow(
        row_id=row.row_id,
        message_id=row.message_id,
        action=row.action,
        body=row.body,
        boot_id=row.boot_id,
        created_s=row.created_s,
        offline=row.offline,
        attempts=row.attempts,
    )
