-- Readings. Slot tables keep what came first: filling a NULL is completion, a different value goes to revision.
-- Hypertables where TimescaleDB is installed, native weekly RANGE partitions where it is not: same columns, same keys.

DO $do$
DECLARE
    timescale boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');
    parts     text := CASE WHEN timescale THEN '' ELSE 'PARTITION BY RANGE (ts)' END;
BEGIN
    -- 10 values a row: one value a row costs eight times the disk
    EXECUTE 'CREATE TABLE slot_read (
        meter_id       integer NOT NULL,
        ts             timestamptz NOT NULL,
        active_import  bigint,
        active_export  bigint,
        voltage_a      real,
        voltage_b      real,
        voltage_c      real,
        current_a      real,
        current_b      real,
        current_c      real,
        active_power   real,
        reactive_power real,
        PRIMARY KEY (meter_id, ts)
    ) ' || parts;
    EXECUTE 'CREATE TABLE register_read (
        meter_id         integer NOT NULL,
        ts               timestamptz NOT NULL,
        kind             smallint NOT NULL,
        active_import    bigint,
        active_import_t1 bigint,
        active_import_t2 bigint,
        active_import_t3 bigint,
        active_import_t4 bigint,
        active_export    bigint,
        PRIMARY KEY (meter_id, ts, kind)
    ) ' || parts;
    IF timescale THEN
        PERFORM create_hypertable('slot_read', 'ts', chunk_time_interval => interval '7 days', create_default_indexes => false);
        PERFORM create_hypertable('register_read', 'ts', chunk_time_interval => interval '28 days', create_default_indexes => false);
    END IF;
END
$do$;
COMMENT ON COLUMN slot_read.ts IS 'the END of the slot; the row at local midnight closes the day before';
COMMENT ON COLUMN slot_read.active_import IS 'register, 1e-4 kWh, secondary side (the multiplier is applied in blocks)';
COMMENT ON COLUMN register_read.kind IS '2 day freeze (ts = the midnight that closes the day), 3 spot reading';

-- Makes the weekly partitions that [lo, hi] needs. Nothing to do for hypertables, which make their own chunks.
CREATE FUNCTION ensure_partitions(lo timestamptz, hi timestamptz) RETURNS void LANGUAGE plpgsql AS $fn$
DECLARE
    week  constant interval := interval '7 days';
    start timestamptz;
    parent text;
    part  text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['slot_read', 'register_read'] LOOP
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM pg_class WHERE oid = parent::regclass AND relkind = 'p');
        start := date_bin(week, lo, timestamptz '2001-01-01 00:00:00+00');
        WHILE start <= hi LOOP
            part := parent || '_' || to_char(start AT TIME ZONE 'UTC', 'YYYYMMDD');
            IF to_regclass(part) IS NULL THEN
                -- one maker at a time: two writers may need the same week at once
                PERFORM pg_advisory_xact_lock(hashtext('ensure_partitions'));
                IF to_regclass(part) IS NULL THEN
                    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                                   part, parent, start, start + week);
                END IF;
            END IF;
            start := start + week;
        END LOOP;
    END LOOP;
END
$fn$;

CREATE TABLE revision (
    meter_id integer NOT NULL,
    ts       timestamptz NOT NULL,
    source   text NOT NULL CHECK (source IN ('slot', 'day', 'spot')),
    quantity text NOT NULL,
    version  integer NOT NULL CHECK (version > 1),
    value    numeric NOT NULL,
    method   text NOT NULL,
    reason   text NOT NULL,
    who      text NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (meter_id, ts, source, quantity, version)
);
COMMENT ON TABLE revision IS 'a value that differs from the first one kept, with its reason; version 1 is the row in the slot table';
