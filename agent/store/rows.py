"""What goes into the store and what comes out: plain values without meaning."""

from collections.abc import Mapping

from msgspec import Struct

GAPS_KEY = "store/gaps"
"""State key that says: rows were lost from the middle of the outbox."""


class StoreFault(Exception):
    """The database cannot be used; the text ends with the next step."""


class NewRow(Struct, frozen=True):
    """A message to be kept until it is answered."""

    message_id: str
    action: str
    body: str
    boot_id: str
    offline: bool
    event_type: str
    """Only rows that say exactly "Updated" may be thinned out."""
    created_s: float


class HeadRow(Struct, frozen=True):
    """A kept message."""

    row_id: int
    message_id: str
    action: str
    body: str
    boot_id: str
    offline: bool
    event_type: str
    created_s: float
    attempts: int
    reason: str
    """Why the last attempt failed, or why the row was set aside."""


class TokenRow(Struct, frozen=True):
    """What is known of a token; (value_key, type) names it."""

    value_key: str
    type: str
    info_json: str
    updated_s: float
    accepted: bool


class Batch(Struct, frozen=True):
    """All that one commit changes. Tokens are forgotten before new ones are kept."""

    enqueue: tuple[NewRow, ...] = ()
    save: tuple[tuple[str, str | None], ...] = ()
    """(key, value); None deletes the key."""
    settle: tuple[int, ...] = ()
    """Ids of rows that were answered; they go. An id that is gone already is no error."""
    attempts: tuple[tuple[int, str], ...] = ()
    """(row id, reason) of sends that failed."""
    freeze: tuple[tuple[int, str], ...] = ()
    """(row id, body) of waiting rows whose body is final from now on. An id that is gone is no
    error; a row that leaves in the same batch leaves with this body."""
    set_aside: tuple[tuple[int, str], ...] = ()
    """(row id, reason) of rows refused to the end; they leave the queue and are kept."""
    save_tokens: tuple[TokenRow, ...] = ()
    forget: tuple[tuple[str, str], ...] = ()
    """(value_key, type) of tokens to remove, before any is saved."""
    forget_tokens: bool = False


class Committed(Struct, frozen=True):
    """The oldest waiting row after a commit, and how many wait."""

    head: HeadRow | None
    waiting: int
    following: tuple[HeadRow, ...] = ()
    """Rows behind it, as many as are at hand."""
    is_news: bool = False
    """What was handed out before may not be true any more, though nobody ordered that: rows were
    given up for lack of room, or the file was mended."""


class Counts(Struct, frozen=True):
    """Figures for the technician, as of the last commit."""

    waiting: int = 0
    set_aside: int = 0
    thinned: int = 0
    """Updated rows given up for lack of room, since the store was made."""
    tokens: int = 0
    token_bytes: int = 0
    """What they take, without the database's own share."""


class Known(Struct, frozen=True):
    """What is known better than from the file, because the agent has it in memory."""

    state: Mapping[str, str] | None = None
    """All that the state table must say; None: as the file has it."""
    above: int = 0
    """New rows get ids above this one."""
