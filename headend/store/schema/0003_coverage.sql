-- The completeness ledger: for every meter, local day and plan, which points are here, which came late, which the meter
-- proved not to have; and for every hole why. Written in the transaction that writes the reads.
-- Bit k of a varbit is slot k of the local day (0 = the slot ending 00:15); a plan of one point a day has one bit.

CREATE TABLE coverage (
    meter_id integer NOT NULL,
    day      date NOT NULL,
    plan     smallint NOT NULL,
    present  varbit NOT NULL,
    late     varbit NOT NULL,
    absent   varbit NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (meter_id, day, plan)
);
CREATE INDEX coverage_by_day ON coverage (day, plan);
COMMENT ON COLUMN coverage.plan IS '1 fifteen-minute curve (负荷曲线), 2 day freeze (日冻结)';
COMMENT ON COLUMN coverage.late IS 'present, but it came more than the plan''s grace after its slot ended';
COMMENT ON COLUMN coverage.absent IS 'the meter proved not to have the record: not asked for again';

CREATE TABLE gap_reason (
    meter_id integer NOT NULL,
    day      date NOT NULL,
    plan     smallint NOT NULL,
    reason   text NOT NULL,
    slots    varbit NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    since    timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    detail   text NOT NULL DEFAULT '',
    PRIMARY KEY (meter_id, day, plan, reason)
);
COMMENT ON TABLE gap_reason IS 'every attempt that failed, folded: which slots were asked in vain, how often, since when, and why';
