-- What was written is known again: NULL where a row is older than this format.

ALTER TABLE outbox ADD COLUMN checksum INTEGER;

ALTER TABLE state ADD COLUMN checksum INTEGER;
