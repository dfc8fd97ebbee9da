-- The bank link (银电联网): banks, their sessions, reversals, receipts, direct debits, and the comparison of a day's details.

CREATE TABLE bank (
    bank_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code     text NOT NULL UNIQUE CHECK (code ~ '^[0-9A-Za-z_-]{1,20}$'),
    name     text NOT NULL,
    cutoff   time NOT NULL DEFAULT '22:00',
    free_reversal interval NOT NULL DEFAULT '10 minutes',
    mac_key  bytea CHECK (octet_length(mac_key) >= 16)
);
COMMENT ON COLUMN bank.cutoff IS 'local time from which a transaction is the next accounting day''s (日切); as agreed with the bank';
COMMENT ON COLUMN bank.free_reversal IS 'so long after a payment its reversal is taken whatever has been used since: time-outs are resolved within it';
COMMENT ON COLUMN bank.mac_key IS 'the key that both share; NULL: its messages carry no MAC';

-- A key with the scope bank speaks for one bank, and only for it.
ALTER TABLE api_key ADD COLUMN bank_id integer REFERENCES bank;
ALTER TABLE api_key ADD CONSTRAINT api_key_bank CHECK (('bank' = ANY(scopes)) = (bank_id IS NOT NULL));

CREATE TABLE bank_session (
    bank_id         integer NOT NULL REFERENCES bank,
    accounting_date date NOT NULL,
    operator        text NOT NULL,
    seed            text NOT NULL,
    signed_on       timestamptz NOT NULL,
    signed_off      timestamptz,
    PRIMARY KEY (bank_id, accounting_date)
);
COMMENT ON COLUMN bank_session.seed IS 'makes the day''s MAC key from the shared one; the same however often the bank signs on for this date';

-- Other files add kinds and topics of their own: what is allowed already stays so.
DO $$
DECLARE
    what record;
BEGIN
    FOR what IN SELECT * FROM (VALUES
        ('ledger_entry', 'ledger_entry_kind_check', 'kind = ''reversal'''),
        ('feed', 'feed_topic_check', 'topic IN (''reversal'', ''bank'')')) AS v (tab, name, also)
    LOOP
        EXECUTE (SELECT format('ALTER TABLE %I DROP CONSTRAINT %I, ADD CONSTRAINT %I CHECK ((%s) OR %s)', what.tab, what.name, what.name,
                               pg_get_expr(conbin, conrelid), what.also)
                 FROM pg_constraint WHERE conname = what.name AND conrelid = what.tab::regclass);
    END LOOP;
END $$;
COMMENT ON COLUMN ledger_entry.amount_fen IS 'payments positive, charges and reversals negative; a correction is a further revision of the same period';
COMMENT ON COLUMN ledger_entry.period IS 'charge: the local day YYYY-MM-DD; payment and its reversal: channel/accounting date/serial';

CREATE TABLE payment_reversal (
    channel         text NOT NULL,
    accounting_date date NOT NULL,
    serial          text NOT NULL,
    reversal_serial text NOT NULL,
    amount_fen      bigint NOT NULL CHECK (amount_fen > 0),
    reversed_at     timestamptz NOT NULL,
    entry_id        bigint UNIQUE REFERENCES ledger_entry,
    PRIMARY KEY (channel, accounting_date, serial),
    UNIQUE (channel, accounting_date, reversal_serial)
);
COMMENT ON TABLE payment_reversal IS 'payments taken back (冲正), by their names';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON payment_reversal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
COMMENT ON COLUMN payment_reversal.entry_id IS 'NULL: it came before its payment, which is refused from then on';

CREATE TABLE receipt (
    entry_id bigint NOT NULL REFERENCES ledger_entry,
    print    smallint NOT NULL CHECK (print > 0),
    at       timestamptz NOT NULL,
    who      text NOT NULL,
    PRIMARY KEY (entry_id, print)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON receipt FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
COMMENT ON TABLE receipt IS 'each print of a payment''s receipt; the second says that it is one';

CREATE TABLE debit_mandate (
    account_id   integer PRIMARY KEY REFERENCES account,
    bank_id      integer NOT NULL REFERENCES bank,
    bank_account text NOT NULL CHECK (bank_account ~ '^[0-9A-Za-z_.:-]{1,80}$'),
    since        timestamptz NOT NULL,
    who          text NOT NULL
);
COMMENT ON TABLE debit_mandate IS 'which of their bank accounts customers let us draw on (代扣)';

CREATE TABLE debit_batch (
    batch   text PRIMARY KEY,
    bank_id integer NOT NULL REFERENCES bank,
    day     date NOT NULL,
    made_at timestamptz NOT NULL,
    answer  bytea,
    UNIQUE (bank_id, day)
);
COMMENT ON COLUMN debit_batch.answer IS 'SHA-256 of the result file that was booked; NULL: none yet';

CREATE TABLE debit_item (
    batch        text NOT NULL REFERENCES debit_batch,
    seq          integer NOT NULL,
    account_id   integer NOT NULL REFERENCES account,
    customer     text NOT NULL,
    bank_account text NOT NULL,
    amount_fen   bigint NOT NULL CHECK (amount_fen > 0),
    state        text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'paid', 'failed')),
    reason       text NOT NULL DEFAULT '',
    entry_id     bigint REFERENCES ledger_entry,
    PRIMARY KEY (batch, seq)
);
CREATE INDEX debit_item_sent ON debit_item (account_id) WHERE state = 'sent';

CREATE TABLE bank_day (
    bank_id         integer NOT NULL REFERENCES bank,
    accounting_date date NOT NULL,
    file            bytea NOT NULL,
    payments        integer NOT NULL,
    payments_fen    bigint NOT NULL,
    reversals       integer NOT NULL,
    reversals_fen   bigint NOT NULL,
    our_payments      integer NOT NULL,
    our_payments_fen  bigint NOT NULL,
    our_reversals     integer NOT NULL,
    our_reversals_fen bigint NOT NULL,
    at              timestamptz NOT NULL,
    who             text NOT NULL,
    PRIMARY KEY (bank_id, accounting_date)
);
COMMENT ON TABLE bank_day IS 'accounting days compared with their banks (对账): both sides'' totals';
COMMENT ON COLUMN bank_day.file IS 'SHA-256 of the bank''s file';

CREATE TABLE bank_item (
    item_id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank_id         integer NOT NULL REFERENCES bank,
    accounting_date date NOT NULL,
    serial          text NOT NULL,
    outcome         text NOT NULL CHECK (outcome IN ('both', 'bank-only', 'ours-only', 'different')),
    bank_customer   text,
    bank_fen        bigint,
    bank_time       timestamptz,
    our_customer    text,
    our_fen         bigint,
    decision        text CHECK (decision IN ('book', 'refund', 'reverse', 'claim', 'manual')),
    decided_by      text,
    decided_at      timestamptz,
    note            text NOT NULL DEFAULT '',
    entry_id        bigint REFERENCES ledger_entry,
    UNIQUE (bank_id, accounting_date, serial),
    CHECK ((decision IS NULL) = (decided_by IS NULL) AND (decision IS NULL) = (decided_at IS NULL)),
    CHECK (decision IS NULL OR outcome <> 'both')
);
COMMENT ON TABLE bank_item IS 'payments of a compared day as both sides have them; one is settled when both agree or somebody has decided';
COMMENT ON COLUMN bank_item.entry_id IS 'what the decision booked';
CREATE INDEX bank_item_open ON bank_item (bank_id, accounting_date) WHERE outcome <> 'both' AND decision IS NULL;

CREATE TABLE bank_late (
    bank_id         integer NOT NULL REFERENCES bank,
    listed          date NOT NULL,
    serial          text NOT NULL,
    customer        text NOT NULL,
    amount_fen      bigint NOT NULL,
    paid_at         timestamptz NOT NULL,
    PRIMARY KEY (bank_id, listed, serial)
);
COMMENT ON TABLE bank_late IS 'what a day''s file lists although it was past the cut-off: matched with the next day''s';
