-- Bodies stand last in their row, so that a scan over event_type does not read them.

CREATE TABLE outbox (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    action TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    offline INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    created_s REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    body TEXT NOT NULL
) STRICT;

CREATE TABLE set_aside (
    row_id INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL,
    action TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    offline INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    created_s REAL NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    value_key TEXT NOT NULL,
    type TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    last_use INTEGER NOT NULL,
    updated_s REAL NOT NULL,
    info_json TEXT NOT NULL,
    PRIMARY KEY (value_key, type)
) STRICT, WITHOUT ROWID;

CREATE INDEX token_eviction ON token (accepted, last_use);
