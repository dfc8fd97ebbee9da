-- The ledger split by time like the readings, so that a year of it can be thrown away in a moment, and keyed so that a day of all meters and a
-- few meters of a day are both one stretch of one index. It knows of estimates; an installation knows which plans it owes; the feed says
-- what kind of change it tells of.

ALTER TABLE coverage RENAME TO coverage_before;
ALTER TABLE gap_reason RENAME TO gap_reason_before;
ALTER INDEX coverage_pkey RENAME TO coverage_before_pkey;
ALTER INDEX gap_reason_pkey RENAME TO gap_reason_before_pkey;

SELECT make_partitioned('coverage', '
    meter_id  integer NOT NULL,
    day       date NOT NULL,
    plan      smallint NOT NULL,
    present   varbit NOT NULL,
    late      varbit NOT NULL,
    absent    varbit NOT NULL,
    estimated varbit,
    attempts  integer NOT NULL DEFAULT 0,
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (plan, day, meter_id)', 'day', '28 days');
COMMENT ON COLUMN coverage.plan IS '1 fifteen-minute curve (负荷曲线), 2 day freeze (日冻结), 3 month freeze (月冻结), 4 phase curve (分相曲线)';
COMMENT ON COLUMN coverage.late IS 'present, but it came more than the plan''s grace after its slot ended';
COMMENT ON COLUMN coverage.absent IS 'the meter proved not to have the record: not asked for again';
COMMENT ON COLUMN coverage.estimated IS 'an estimate stands here until the meter''s own value comes; NULL: none does';

SELECT make_partitioned('gap_reason', '
    meter_id integer NOT NULL,
    day      date NOT NULL,
    plan     smallint NOT NULL,
    reason   text NOT NULL,
    slots    varbit NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    since    timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    detail   text NOT NULL DEFAULT '''',
    PRIMARY KEY (plan, day, meter_id, reason)', 'day', '28 days');
COMMENT ON TABLE gap_reason IS 'every attempt that failed, folded: which slots were asked in vain, how often, since when, and why';

SELECT ensure_partitions('coverage', (SELECT coalesce(array_agg(DISTINCT day::timestamptz), '{}') FROM coverage_before));
SELECT ensure_partitions('gap_reason', (SELECT coalesce(array_agg(DISTINCT day::timestamptz), '{}') FROM gap_reason_before));
INSERT INTO coverage (meter_id, day, plan, present, late, absent, attempts, first_at, last_at)
    SELECT meter_id, day, plan, present, late, absent, attempts, first_at, last_at FROM coverage_before;
INSERT INTO gap_reason (meter_id, day, plan, reason, slots, attempts, since, last_at, detail)
    SELECT meter_id, day, plan, reason, slots, attempts, since, last_at, detail FROM gap_reason_before;
DROP TABLE coverage_before, gap_reason_before;

ALTER TABLE installation ADD COLUMN plans smallint[] NOT NULL DEFAULT '{1,2}';
COMMENT ON COLUMN installation.plans IS 'what this meter owes here: numbers as in coverage.plan';

-- One row for all meters that a transaction changed in the same way: they are told apart when the feed is read.
ALTER TABLE feed ALTER COLUMN key DROP NOT NULL;
ALTER TABLE feed ADD COLUMN change text NOT NULL DEFAULT 'new'
    CHECK (change IN ('new', 'completed', 'corrected', 'estimated', 'actual'));
ALTER TABLE feed ADD COLUMN meters integer[];
ALTER TABLE feed ADD CONSTRAINT feed_subject CHECK ((key IS NULL) <> (meters IS NULL));
ALTER TABLE feed DROP CONSTRAINT feed_topic_check;
ALTER TABLE feed ADD CONSTRAINT feed_topic_check CHECK (topic IN
    ('curve', 'phase', 'day', 'month', 'spot', 'event', 'loss', 'finding', 'balance', 'order', 'payment', 'bill', 'revision'));
COMMENT ON COLUMN feed.change IS 'of readings: new; completed (a NULL was filled); corrected; estimated; actual (the meter''s own value where an estimate stood)';
ALTER TABLE feed ADD COLUMN at timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN feed.at IS 'server time, for the retention of the feed alone: the cursor is (xid, seq)';
CREATE INDEX feed_by_at ON feed USING brin (at);

ALTER TABLE meter ADD COLUMN digits smallint NOT NULL DEFAULT 6 CHECK (digits BETWEEN 4 AND 9);
COMMENT ON COLUMN meter.digits IS 'of whole kWh that its registers show: six roll over at 1,000,000 kWh';
