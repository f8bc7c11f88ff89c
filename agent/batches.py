"""What one turn of the inbox comes to: rows of one commit, orders that still stand after it."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now
from agent.store.rows import Batch, HeadRow, NewRow, TokenRow


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


def to_batch(effects: Sequence[object], now: Now) -> Batch:
    """Durable effects as rows; of several values for one key the last counts."""
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
                boot_id=now.boot_id,
                offline=e.offline,
                event_type=e.event_type,
                created_s=now.mono_s,
            )
            for e in effects
            if isinstance(e, ef.Enqueue)
        ),
        save=tuple(saves.items()),
        settle=tuple(e.row_id for e in effects if isinstance(e, ef.SettleRow)),
        attempts=tuple((e.row_id, e.reason) for e in effects if isinstance(e, ef.CountAttempt)),
        set_aside=tuple((e.row_id, e.reason) for e in effects if isinstance(e, ef.SetAside)),
        freeze=tuple((e.row_id, e.body) for e in effects if isinstance(e, ef.FreezeBody)),
        save_tokens=tuple(tokens),
        forget=tuple(e.token.key for e in effects if isinstance(e, ef.ForgetToken)),
        forget_tokens=any(isinstance(e, ef.ForgetTokens) for e in effects),
    )


def outbox_row(row: HeadRow) -> ev.OutboxRow:
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
