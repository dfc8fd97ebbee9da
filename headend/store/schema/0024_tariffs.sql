-- A utility's own tariffs: the text as it was checked at the door, and every text that stood before it.

CREATE TABLE tariff (
    name     text NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    toml     text NOT NULL,
    sha256   bytea NOT NULL,
    changes_from date NOT NULL,
    reason   text NOT NULL,
    who      text NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (name, revision)
);
COMMENT ON TABLE tariff IS 'the newest revision of a name holds; one that comes with the program gives way to it';
COMMENT ON COLUMN tariff.changes_from IS 'the first local day whose money this revision may make another: days before are as they were';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON tariff FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a two-part tariff (两部制) asks of a customer besides his capacity, dated like it.
ALTER TABLE customer_span ADD COLUMN basic_by text CHECK (basic_by IN ('capacity', 'contract', 'demand')),
    ADD COLUMN contract_kw numeric(12, 2) CHECK (contract_kw > 0);
COMMENT ON COLUMN customer_span.basic_by IS 'what the basic charge goes by: capacity (容量), contract demand (合同最大需量) or actual demand (实际最大需量)';
COMMENT ON COLUMN customer_span.contract_kw IS 'contract demand (合同最大需量)';

-- Steps by the year begin before the head-end does.
CREATE TABLE account_opening (
    account_id integer PRIMARY KEY REFERENCES account,
    day        date NOT NULL,
    used       bigint NOT NULL CHECK (used >= 0)
);
COMMENT ON TABLE account_opening IS 'what an account had used [1e-4 kWh] in the calendar year until the beginning of a local day, as the system before this one says';

CREATE TABLE billing_batch (
    first_day date NOT NULL,
    last_day  date NOT NULL,
    at        timestamptz NOT NULL,
    change_percent double precision,
    PRIMARY KEY (first_day, last_day)
);
COMMENT ON COLUMN billing_batch.change_percent IS 'how far bills might lie off the last one: a correction goes by the same; NULL: any';
COMMENT ON TABLE billing_batch IS 'spans that were billed, and when last: those that late readings may correct';
