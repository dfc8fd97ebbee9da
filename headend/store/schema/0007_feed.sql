-- The change feed: one row for each (meter, day, group) that a transaction changed. The cursor is (cluster epoch, xid, seq), read
-- below pg_snapshot_xmin(pg_current_snapshot()): a transaction still running may own a lower xid, so nothing above it is shown yet.

CREATE TABLE feed (
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq      bigint GENERATED ALWAYS AS IDENTITY,
    topic    text NOT NULL CHECK (topic IN ('curve', 'day', 'spot', 'revision', 'loss', 'finding', 'balance', 'order', 'payment', 'bill')),
    key      text NOT NULL,
    day      date,
    PRIMARY KEY (xid, seq)
);
COMMENT ON COLUMN feed.key IS 'what changed: meter asset for reads, area code for loss, finding id, customer number, order id';

CREATE TABLE api_key (
    key_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix   text NOT NULL UNIQUE,
    hash     bytea NOT NULL,
    person   text NOT NULL,
    scopes   text[] NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL DEFAULT 'infinity',
    revoked  boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN api_key.person IS 'the person who answers for what this key does: second-person rules compare persons, never keys';

CREATE TABLE idempotency (
    person     text NOT NULL,
    key        text NOT NULL,
    request    bytea NOT NULL,
    status     smallint NOT NULL,
    body       jsonb NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (person, key)
);
