-- More readings, and where each came from. `evidence` is the first eight bytes (big-endian) of the SHA-256 of the exchange that brought a
-- row: the hash stays beside the reading when the bytes themselves are thrown away. NULL: older than this, or made by nobody's answer.

-- Which tables are split by time, and how finely. A span is chosen so that the index that is being filled fits in memory.
CREATE TABLE partition_span (
    parent      text PRIMARY KEY,
    time_column text NOT NULL,
    span        interval NOT NULL CHECK (span >= interval '1 hour')
);
CREATE TABLE partition (
    parent text NOT NULL REFERENCES partition_span,
    lo     timestamptz NOT NULL,
    hi     timestamptz NOT NULL CHECK (hi > lo),
    name   text NOT NULL UNIQUE,
    PRIMARY KEY (parent, lo)
);
COMMENT ON TABLE partition IS 'native partitions; empty where TimescaleDB keeps its own list';

DROP FUNCTION ensure_partitions(timestamptz, timestamptz);

-- Makes the partitions that these instants need. Nothing to do for hypertables, which make their own chunks.
CREATE FUNCTION ensure_partitions(what text, instants timestamptz[]) RETURNS void LANGUAGE plpgsql AS $fn$
DECLARE
    at   timestamptz;
    step interval;
    lo_  timestamptz;
    hi_  timestamptz;
    made text;
BEGIN
    SELECT span INTO step FROM partition_span s WHERE s.parent = what
        AND EXISTS (SELECT FROM pg_class WHERE oid = what::regclass AND relkind = 'p');
    IF step IS NULL THEN
        RETURN;
    END IF;
    FOREACH at IN ARRAY instants LOOP
        CONTINUE WHEN EXISTS (SELECT FROM partition p WHERE p.parent = what AND p.lo <= at AND p.hi > at);
        -- one maker at a time: two writers may need the same span at once
        PERFORM pg_advisory_xact_lock(hashtext('ensure_partitions'));
        CONTINUE WHEN EXISTS (SELECT FROM partition p WHERE p.parent = what AND p.lo <= at AND p.hi > at);
        lo_ := date_bin(step, at, timestamptz '2001-01-01 00:00:00+00');
        -- where the span was another one before, what is new ends at its neighbours
        hi_ := least(lo_ + step, (SELECT min(p.lo) FROM partition p WHERE p.parent = what AND p.lo > at));
        lo_ := greatest(lo_, (SELECT max(p.hi) FROM partition p WHERE p.parent = what AND p.hi <= at));
        made := what || '_' || to_char(lo_ AT TIME ZONE 'UTC', 'YYYYMMDD"t"HH24MI');
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', made, what, lo_, hi_);
        INSERT INTO partition VALUES (what, lo_, hi_, made);
    END LOOP;
END
$fn$;

-- A table split by time, as this server does it: columns with the primary key, the column of the time, the span.
CREATE FUNCTION make_partitioned(what text, columns text, time_column text, span interval) RETURNS void LANGUAGE plpgsql AS $fn$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        EXECUTE format('CREATE TABLE %I (%s)', what, columns);
        PERFORM create_hypertable(what::regclass, time_column::name, chunk_time_interval => span, create_default_indexes => false);
    ELSE
        EXECUTE format('CREATE TABLE %I (%s) PARTITION BY RANGE (%I)', what, columns, time_column);
    END IF;
    INSERT INTO partition_span VALUES (what, time_column, span);
END
$fn$;

INSERT INTO partition_span VALUES ('slot_read', 'ts', '7 days'), ('register_read', 'ts', '28 days');
-- native partitions of before: weeks, named by their Mondays
INSERT INTO partition (parent, lo, hi, name)
SELECT parent, at, at + interval '7 days', child
FROM (
    SELECT p.relname AS parent, c.relname AS child, to_timestamp(right(c.relname, 8), 'YYYYMMDD') AT TIME ZONE 'UTC' AT TIME ZONE 'UTC' AS at
    FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
    WHERE p.relname IN ('slot_read', 'register_read') AND p.relkind = 'p' AND c.relkind = 'r'
) found;

ALTER TABLE slot_read ADD COLUMN evidence bigint;
COMMENT ON COLUMN slot_read.evidence IS 'of the exchange that brought the row; of later ones that filled its NULLs see completion';

-- The second capture group of the load curve (负荷曲线): what comes from three-phase meters, often on other days and by other requests.
SELECT make_partitioned('slot_phase_read', '
    meter_id         integer NOT NULL,
    ts               timestamptz NOT NULL,
    reactive_import  bigint,
    reactive_export  bigint,
    active_power_a   real,
    active_power_b   real,
    active_power_c   real,
    reactive_power_a real,
    reactive_power_b real,
    reactive_power_c real,
    power_factor     real,
    power_factor_a   real,
    power_factor_b   real,
    power_factor_c   real,
    evidence         bigint,
    PRIMARY KEY (meter_id, ts)', 'ts', '7 days');

-- Freezes by tariff both ways, reactive registers, and demand (需量) with its time. Demand is money: double precision keeps its decimals.
ALTER TABLE register_read
    ADD COLUMN active_export_t1 bigint, ADD COLUMN active_export_t2 bigint, ADD COLUMN active_export_t3 bigint, ADD COLUMN active_export_t4 bigint,
    ADD COLUMN reactive_import bigint, ADD COLUMN reactive_export bigint,
    ADD COLUMN reactive_q1 bigint, ADD COLUMN reactive_q2 bigint, ADD COLUMN reactive_q3 bigint, ADD COLUMN reactive_q4 bigint,
    ADD COLUMN max_demand_import double precision, ADD COLUMN max_demand_import_time timestamptz,
    ADD COLUMN max_demand_export double precision, ADD COLUMN max_demand_export_time timestamptz,
    ADD COLUMN evidence bigint;
COMMENT ON COLUMN register_read.kind IS '2 day freeze (ts = the midnight that closes the day), 3 spot reading, 4 month freeze (ts = the midnight that closes the month)';

-- Whatever else a meter can be asked, one value a row: rare quantities are not worth a column each.
SELECT make_partitioned('other_read', '
    meter_id integer NOT NULL,
    ts       timestamptz NOT NULL,
    kind     smallint NOT NULL,
    quantity text NOT NULL,
    count    bigint,
    value    double precision,
    moment   timestamptz,
    evidence bigint,
    PRIMARY KEY (meter_id, ts, kind, quantity),
    CHECK (num_nonnulls(count, value, moment) = 1)', 'ts', '28 days');
COMMENT ON COLUMN other_read.kind IS '1 curve, 2 day freeze, 3 spot reading, 4 month freeze';
COMMENT ON COLUMN other_read.count IS 'registers (1e-4 of the unit) and event counters; value: instants and demands; moment: times of demands';

-- NULLs filled by a later exchange than the row's own: which cells of a meter, by which.
CREATE TABLE completion (
    meter_id integer NOT NULL,
    source   text NOT NULL,
    evidence bigint NOT NULL,
    codes    text[] NOT NULL,
    instants timestamptz[] NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (meter_id, source, evidence)
);

ALTER TABLE revision ADD COLUMN evidence bigint;
ALTER TABLE revision DROP CONSTRAINT revision_source_check;
ALTER TABLE revision ADD CONSTRAINT revision_source_check CHECK (source IN ('slot', 'phase', 'day', 'spot', 'month', 'other'));
COMMENT ON COLUMN revision.value IS 'registers 1e-4 of the unit; moments microseconds since 1970-01-01 UTC; all else in the unit';
COMMENT ON COLUMN revision.method IS 'read: a later answer; edit: a person; anything else: how it was estimated';
-- versions count from the row: a cell without one has no version 1
ALTER TABLE revision DROP CONSTRAINT revision_version_check;
ALTER TABLE revision ADD CONSTRAINT revision_version_check CHECK (version > 1);

-- What was said on the wire, or which file was read: the bytes behind the readings, for as long as the retention keeps them.
SELECT make_partitioned('exchange', '
    terminal_id integer NOT NULL,
    taken_at    timestamptz NOT NULL,
    evidence    bigint NOT NULL,
    meter_id    integer NOT NULL,
    task        text NOT NULL,
    sha256      bytea NOT NULL,
    body        bytea NOT NULL,
    PRIMARY KEY (terminal_id, taken_at, evidence)', 'taken_at', '7 days');
COMMENT ON COLUMN exchange.terminal_id IS '0: a file was imported';
COMMENT ON COLUMN exchange.meter_id IS 'whom the terminal was asked about; 0: several meters';
COMMENT ON COLUMN exchange.body IS 'zlib of the canonical text (store/exchanges.py) whose SHA-256 stands beside it';

-- What meters and terminals report of themselves.
SELECT make_partitioned('event', '
    subject_kind text NOT NULL CHECK (subject_kind IN (''meter'', ''terminal'')),
    subject_id   integer NOT NULL,
    occurred     timestamptz NOT NULL,
    code         text NOT NULL,
    seq          integer NOT NULL DEFAULT 0,
    ended        timestamptz,
    detail       jsonb NOT NULL DEFAULT ''{}'',
    received     timestamptz NOT NULL,
    evidence     bigint,
    PRIMARY KEY (subject_kind, subject_id, occurred, code, seq)', 'occurred', '28 days');
COMMENT ON COLUMN event.code IS 'protocol and item: what happened, as the standard names it';
COMMENT ON COLUMN event.seq IS 'tells apart what the same subject reports of the same second';
