"""SQLite: rows and JSON, without meaning."""

from agent.store.db import Store, open_store
from agent.store.rows import (
    Batch,
    Committed,
    Counts,
    HeadRow,
    NewRow,
    StoreFault,
    TokenRow,
)

__all__ = [
    "Batch",
    "Committed",
    "Counts",
    "HeadRow",
    "NewRow",
    "Store",
    "StoreFault",
    "TokenRow",
    "open_store",
]
