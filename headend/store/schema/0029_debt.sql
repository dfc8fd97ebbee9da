-- Fee control's terms by organisation and account, grace, debts in instalments, and bills that were taken back.

-- The terms of fee control (费控策略). A column that is NULL is as the organisation above says, at last as the program's defaults.
CREATE TABLE fee_terms (
    terms_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id integer REFERENCES organisation,
    account_id      integer REFERENCES account,
    warn1_fen       bigint,
    warn2_fen       bigint,
    stop_fen        bigint CHECK (stop_fen <= 0),
    grace_days      smallint CHECK (grace_days BETWEEN 0 AND 92),
    trips           boolean,
    debt_trips      boolean,
    debt_alone_fen  bigint CHECK (debt_alone_fen >= 0),
    reason          text NOT NULL CHECK (reason <> ''),
    who             text NOT NULL CHECK (who <> ''),
    at              timestamptz NOT NULL,
    CHECK (organisation_id IS NULL OR account_id IS NULL),
    -- an account's own are more days of grace and nothing else
    CHECK (account_id IS NULL OR (coalesce(warn1_fen, warn2_fen, stop_fen, debt_alone_fen) IS NULL AND coalesce(trips, debt_trips) IS NULL))
);
COMMENT ON TABLE fee_terms IS 'append-only; the newest row of an organisation, an account, or of everybody (neither) holds';
COMMENT ON COLUMN fee_terms.stop_fen IS 'a balance below it may be stopped; below zero: an overdraft that is granted';
COMMENT ON COLUMN fee_terms.grace_days IS 'days (宽限) from the stop notice to the first moment at which a trip may be asked for';
COMMENT ON COLUMN fee_terms.trips IS 'the stop strategy: false: below the level customers are told, and nobody is cut off';
COMMENT ON COLUMN fee_terms.debt_trips IS 'true: what instalments took counts at once; false: not before a payment has made the balance good again';
COMMENT ON COLUMN fee_terms.debt_alone_fen IS 'a debt up to this sum is agreed, or given up, by one person; above it a second one is needed';
CREATE INDEX fee_terms_by_subject ON fee_terms (account_id, organisation_id, terms_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON fee_terms FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON fee_terms DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('terms', 'terms_id');

CREATE TABLE grace (
    grace_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    last_day   date NOT NULL,
    reason     text NOT NULL CHECK (reason <> ''),
    who        text NOT NULL CHECK (who <> ''),
    at         timestamptz NOT NULL,
    revoked_by text,
    revoked_at timestamptz,
    CHECK ((revoked_by IS NULL) = (revoked_at IS NULL))
);
COMMENT ON TABLE grace IS 'what a person granted one account (宽限): it is not cut off up to the end of last_day';
CREATE INDEX grace_by_account ON grace (account_id, last_day) WHERE revoked_at IS NULL;
CREATE TRIGGER kept BEFORE DELETE ON grace FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER chain AFTER INSERT OR UPDATE ON grace DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('grace', 'grace_id');

-- NULL until the next run: whoever is below the stop level then is told anew, with the day, and his grace begins there
ALTER TABLE balance ADD COLUMN stop_since timestamptz;
COMMENT ON COLUMN balance.stop_since IS 'when the stop level was reached; kept until the balance is good again, whatever is not known in between';

ALTER TABLE notice DROP CONSTRAINT notice_level_check, ADD CONSTRAINT notice_level_check CHECK (level IN ('warn1', 'warn2', 'stop', 'instalment')),
    ADD COLUMN ref text NOT NULL DEFAULT '',
    ADD COLUMN until timestamptz;
COMMENT ON COLUMN notice.until IS 'stop: before which it promises that supply goes on; kept, whatever the terms become';
COMMENT ON COLUMN notice.ref IS 'instalment: debt/the day since which it is behind; told once';

-- What is owed besides the supply (欠费分期), and how it is paid off. Neither a debt nor what was done about it is ever changed.
CREATE TABLE debt (
    debt_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    kind       text NOT NULL CHECK (kind IN ('opening', 'theft', 'correction', 'arrears')),
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    way        text NOT NULL CHECK (way IN ('months', 'monthly', 'daily', 'share')),
    part       bigint NOT NULL CHECK (part > 0),
    due_day    smallint NOT NULL DEFAULT 1 CHECK (due_day BETWEEN 1 AND 28),
    first_day  date NOT NULL,
    reason     text NOT NULL CHECK (reason <> ''),
    who        text NOT NULL CHECK (who <> ''),
    at         timestamptz NOT NULL,
    CHECK (way <> 'share' OR part <= 100),
    CHECK (way <> 'months' OR part <= amount_fen)
);
COMMENT ON COLUMN debt.kind IS 'opening: of the system before this one; theft: recovered; correction: of metering or billing; arrears: part of a balance below zero';
COMMENT ON COLUMN debt.part IS 'months: how many equal instalments; monthly, daily: fen each; share: per cent of each payment';
COMMENT ON COLUMN debt.first_day IS 'the local day from which instalments fall due';
CREATE INDEX debt_by_account ON debt (account_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON debt FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON debt DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('debt', 'debt_id');

CREATE TABLE debt_act (
    debt_id integer NOT NULL REFERENCES debt,
    seq     smallint NOT NULL CHECK (seq > 0),
    act     text NOT NULL CHECK (act IN ('agree', 'repay', 'end-ask', 'end')),
    day     date NOT NULL,
    fen     bigint CHECK ((act = 'repay') = (fen IS NOT NULL) AND (fen IS NULL OR fen > 0)),
    reason  text NOT NULL CHECK (reason <> ''),
    who     text NOT NULL CHECK (who <> ''),
    at      timestamptz NOT NULL,
    PRIMARY KEY (debt_id, seq)
);
COMMENT ON TABLE debt_act IS 'agree: in force from this local day; repay: so much more is due on it; end: what is left is not claimed any more, arrears go back to the balance';
CREATE UNIQUE INDEX debt_act_once ON debt_act (debt_id, act) WHERE act <> 'repay';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON debt_act FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON debt_act DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('debt', 'debt_id');

DO $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_kind_check, ADD CONSTRAINT ledger_entry_kind_check '
                           'CHECK ((%s) OR kind IN (''debt'', ''deferral'', ''instalment''))', pg_get_expr(conbin, conrelid))
             FROM pg_constraint WHERE conname = 'ledger_entry_kind_check' AND conrelid = 'ledger_entry'::regclass);
END $$;
CREATE INDEX ledger_entry_instalment ON ledger_entry (account_id) WHERE kind = 'instalment';
COMMENT ON COLUMN ledger_entry.period IS 'charge: the local day YYYY-MM-DD; payment and its reversal: channel/accounting date/serial; debt, deferral: the debt, /end; instalment: debt/day';

-- The sum of each account's entries, kept by the transaction that appends one; `headend ledger recompute` adds them up again.
CREATE TABLE ledger_sum (
    account_id integer PRIMARY KEY REFERENCES account,
    amount_fen bigint NOT NULL,
    entry_id   bigint NOT NULL
);
COMMENT ON COLUMN ledger_sum.entry_id IS 'the newest entry that is in it';
INSERT INTO ledger_sum SELECT account_id, sum(amount_fen), max(entry_id) FROM ledger_entry GROUP BY 1;
CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    INSERT INTO ledger_sum AS s SELECT account_id, sum(amount_fen), max(entry_id) FROM fresh GROUP BY 1 ORDER BY 1
    ON CONFLICT (account_id) DO UPDATE SET amount_fen = s.amount_fen + excluded.amount_fen, entry_id = greatest(s.entry_id, excluded.entry_id);
    RETURN NULL;
END
$fn$;
CREATE TRIGGER add_up AFTER INSERT ON ledger_entry REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION add_up();

-- A payment counts on its accounting date; past the cut-off (日切), when that is the next day already, on the day of paying: nobody owes a penalty, or
-- is asked again, because of the hour at which his bank closes its books.
CREATE VIEW standing_payment AS
    SELECT p.account_id, p.amount_fen, p.entry_id, least((p.paid_at AT TIME ZONE k.zone)::date, p.accounting_date) AS day
    FROM payment p LEFT JOIN payment_reversal r USING (channel, accounting_date, serial), cluster k WHERE r.serial IS NULL;
COMMENT ON VIEW standing_payment IS 'payments that were not taken back, and the local day on which each counts';

-- Whose a local day is (store/billed.py has the same rule): from the first midnight at or after the opening, with the point's first meter at the
-- earliest, to the first at or after the closing.
CREATE VIEW account_days AS
    SELECT a.account_id,
           ((greatest(a.valid_from, (SELECT min(i.valid_from) FROM installation i WHERE i.point_id = a.point_id)) AT TIME ZONE k.zone)
               + interval '1 day' - interval '1 microsecond')::date AS opened,
           ((nullif(a.valid_to, 'infinity') AT TIME ZONE k.zone) + interval '1 day' - interval '1 microsecond')::date AS closed
    FROM account a, cluster k;
COMMENT ON VIEW account_days IS 'local days [opened, closed) that are an account''s; closed NULL: still open';

-- A bill whose days are not its account's any more.
ALTER TABLE bill ADD COLUMN taken_back boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN bill.taken_back IS 'the archive learnt that these days are not all the account''s: this revision asks for nothing, another bill for what is his';
