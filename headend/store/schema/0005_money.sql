-- Money is integer fen. A balance is the sum of the account's entries; entries are never changed, only added to.

CREATE TABLE ledger_entry (
    entry_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  integer NOT NULL REFERENCES account,
    kind        text NOT NULL CHECK (kind IN ('payment', 'charge')),
    period      text NOT NULL,
    revision    integer NOT NULL CHECK (revision > 0),
    amount_fen  bigint NOT NULL,
    inputs_hash bytea NOT NULL,
    detail      jsonb NOT NULL,
    at          timestamptz NOT NULL,
    recorded    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (account_id, kind, period, revision)
);
COMMENT ON COLUMN ledger_entry.amount_fen IS 'payments positive, charges negative; a correction is a further revision of the same period';
COMMENT ON COLUMN ledger_entry.period IS 'charge: the local day YYYY-MM-DD; payment: channel/accounting date/serial';
COMMENT ON COLUMN ledger_entry.inputs_hash IS 'SHA-256 of the readings, prices and times the amount was derived from';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger_entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE payment (
    account_id      integer NOT NULL REFERENCES account,
    channel         text NOT NULL,
    accounting_date date NOT NULL,
    serial          text NOT NULL,
    amount_fen      bigint NOT NULL CHECK (amount_fen > 0),
    paid_at         timestamptz NOT NULL,
    entry_id        bigint NOT NULL REFERENCES ledger_entry,
    PRIMARY KEY (channel, accounting_date, serial)
);
CREATE INDEX payment_by_account ON payment (account_id, paid_at);

CREATE TABLE balance (
    account_id      integer PRIMARY KEY REFERENCES account,
    as_of           timestamptz NOT NULL,
    ledger_fen      bigint NOT NULL,
    ledger_entry_id bigint NOT NULL,
    provisional_low_fen  bigint NOT NULL,
    provisional_high_fen bigint NOT NULL,
    newest_reading  timestamptz,
    valid           boolean NOT NULL,
    invalid_why     text NOT NULL DEFAULT '',
    level           text NOT NULL CHECK (level IN ('ok', 'warn1', 'warn2', 'stop', 'unknown'))
);
COMMENT ON TABLE balance IS 'the newest computed running balance (测算): provisional, replaced by each run; the ledger alone is the truth';
COMMENT ON COLUMN balance.provisional_low_fen IS 'ledger less the dearest possible charge since the last settled register';
COMMENT ON COLUMN balance.ledger_entry_id IS 'the newest ledger entry this balance includes: a later one means recompute';

CREATE TABLE notice (
    notice_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    level      text NOT NULL CHECK (level IN ('warn1', 'warn2', 'stop')),
    at         timestamptz NOT NULL,
    balance_fen bigint NOT NULL,
    text_zh    text NOT NULL,
    text_en    text NOT NULL
);
CREATE INDEX notice_by_account ON notice (account_id, at);
COMMENT ON TABLE notice IS 'what the customer was told and when; the CRM sends it and a trip needs it';

CREATE TABLE bill (
    account_id  integer NOT NULL REFERENCES account,
    first_day   date NOT NULL,
    last_day    date NOT NULL,
    revision    integer NOT NULL CHECK (revision > 0),
    amount_fen  bigint NOT NULL,
    lines       jsonb NOT NULL,
    inputs_hash bytea NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (account_id, first_day, last_day, revision)
);
