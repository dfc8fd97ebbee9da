-- Clocks as data, and when meters and terminals were last asked for their clock and for their events.

ALTER TABLE cluster ADD COLUMN clock_rules jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN cluster.clock_rules IS 'what the utility decided about setting clocks, where it differs from headend/control/clock_policy.py';

-- One row a clock, with its newest readings in it: it never grows.
CREATE TABLE clock (
    subject_kind text NOT NULL CHECK (subject_kind IN ('meter', 'terminal')),
    subject_id   integer NOT NULL,
    read_at      timestamptz,
    ahead        double precision,
    uncertainty  double precision,
    drift        double precision,
    set_at       timestamptz,
    ats          timestamptz[] NOT NULL DEFAULT '{}',
    aheads       double precision[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (subject_kind, subject_id),
    CHECK (num_nonnulls(read_at, ahead, uncertainty) IN (0, 3)),
    CHECK (cardinality(ats) = cardinality(aheads) AND cardinality(ats) <= 60)
);
COMMENT ON COLUMN clock.ahead IS 'seconds by which it was ahead of ours at read_at, right to within uncertainty';
COMMENT ON COLUMN clock.drift IS 'seconds a day that it gains; NULL: too little is known since it was set last';
COMMENT ON COLUMN clock.ats IS 'when it was read since it was set last, the newest 60, with what it was ahead then in aheads';

CREATE TABLE visit (
    subject_kind text NOT NULL CHECK (subject_kind IN ('meter', 'terminal')),
    subject_id   integer NOT NULL,
    what         text NOT NULL CHECK (what IN ('clock', 'events')),
    asked_at     timestamptz NOT NULL,
    answered_at  timestamptz,
    why          text NOT NULL DEFAULT '',
    PRIMARY KEY (subject_kind, subject_id, what)
);
COMMENT ON COLUMN visit.why IS 'why the last one came to nothing; empty: it did not';
