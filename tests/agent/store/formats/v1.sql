BEGIN TRANSACTION;
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
INSERT INTO "outbox" VALUES(3,'m3','TransactionEvent','b',1,'Started',1.5,2,'timeout','{"seqNo":0,"n":"Ž"}');
INSERT INTO "outbox" VALUES(4,'m4','TransactionEvent','b',0,'Updated',2.5,0,'','{"seqNo":1}');
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
INSERT INTO "set_aside" VALUES(2,'m2','TransactionEvent','b',0,'Ended',1.0,5,'InternalError','{}');
CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "state" VALUES('meta/boot_id','"b"');
INSERT INTO "state" VALUES('transaction/1','{"id":"t"}');
CREATE TABLE token (
    value_key TEXT NOT NULL,
    type TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    last_use INTEGER NOT NULL,
    updated_s REAL NOT NULL,
    info_json TEXT NOT NULL,
    PRIMARY KEY (value_key, type)
) STRICT, WITHOUT ROWID;
INSERT INTO "token" VALUES('04a1','ISO14443',1,1,0.0,'{"status":"Accepted"}');
CREATE INDEX token_eviction ON token (accepted, last_use);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',4);
COMMIT;
