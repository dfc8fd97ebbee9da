-- Roll-ups, retention, backups.

-- How far each follower of the feed has come; moved in the transaction that writes what it made of the changes.
CREATE TABLE job_cursor (
    job    text PRIMARY KEY,
    cursor text NOT NULL,
    at     timestamptz NOT NULL
);
COMMENT ON COLUMN job_cursor.at IS 'domain time of the last move';

-- The day of a meter in one row, kept exactly equal to the rows and the ledger it is made of. Registers and energies are the meter's own
-- (secondary side, 1e-4 kWh); a row is there as soon as anything of the day is known.
-- Of each quantity: how many values, the extremes with the end of the slot in which they stood first, and the mean of the float64 sum in
-- the order of the slots.
CREATE FUNCTION roll_up_columns(codes text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $fn$
    SELECT string_agg(format('%1$s_n smallint NOT NULL, %1$s_min real, %1$s_min_at timestamptz, %1$s_max real, %1$s_max_at timestamptz, '
                             '%1$s_mean double precision', code), ', ' ORDER BY n)
    FROM unnest(codes) WITH ORDINALITY AS u(code, n)
$fn$;

SELECT make_partitioned('day_rollup', '
    meter_id         integer NOT NULL,
    day              date NOT NULL,
    points           smallint NOT NULL,
    present          smallint NOT NULL,
    late             smallint NOT NULL,
    estimated        smallint NOT NULL,
    freeze_points    smallint NOT NULL,
    freeze_present   smallint NOT NULL,
    freeze_late      smallint NOT NULL,
    freeze_estimated smallint NOT NULL,
    import_register  bigint,
    export_register  bigint,
    import_energy    bigint,
    export_energy    bigint,
    import_from      smallint CHECK (import_from IN (1, 2)),
    export_from      smallint CHECK (export_from IN (1, 2)),
    ' || roll_up_columns(ARRAY['voltage_a', 'voltage_b', 'voltage_c', 'current_a', 'current_b', 'current_c', 'active_power', 'reactive_power']) || ',
    PRIMARY KEY (day, meter_id),
    CHECK ((import_energy IS NULL) = (import_from IS NULL)),
    CHECK ((export_energy IS NULL) = (export_from IS NULL))', 'day', '28 days');
COMMENT ON COLUMN day_rollup.points IS 'of the load curve that the meter owed that day; present, late and estimated count the ledger''s bits';
COMMENT ON COLUMN day_rollup.import_register IS 'at the midnight that closes the day: the day freeze, else the curve';
COMMENT ON COLUMN day_rollup.import_energy IS 'closing less opening register; NULL where one of them is not known or the register fell without rolling over';
COMMENT ON COLUMN day_rollup.import_from IS 'both registers are: 2 day freezes, 1 points of the curve';

SELECT make_partitioned('day_phase_rollup', '
    meter_id integer NOT NULL,
    day      date NOT NULL,
    ' || roll_up_columns(ARRAY['active_power_a', 'active_power_b', 'active_power_c', 'reactive_power_a', 'reactive_power_b', 'reactive_power_c',
                               'power_factor', 'power_factor_a', 'power_factor_b', 'power_factor_c']) || ',
    PRIMARY KEY (day, meter_id)', 'day', '28 days');
COMMENT ON TABLE day_phase_rollup IS 'the same of the second capture group, for meters that have it';

-- The month in one row, built from its day rows alone. `days` counts them; an energy is the sum of as many days as stand beside it, and is the
-- month's only where that is every day that the meter was installed.
SELECT make_partitioned('month_rollup', '
    meter_id           integer NOT NULL,
    month              date NOT NULL CHECK (extract(day FROM month) = 1),
    days               smallint NOT NULL,
    points             integer NOT NULL,
    present            integer NOT NULL,
    late               integer NOT NULL,
    estimated          integer NOT NULL,
    freeze_points      integer NOT NULL,
    freeze_present     integer NOT NULL,
    freeze_late        integer NOT NULL,
    freeze_estimated   integer NOT NULL,
    import_register    bigint,
    export_register    bigint,
    import_energy      bigint,
    export_energy      bigint,
    import_energy_days smallint NOT NULL,
    export_energy_days smallint NOT NULL,
    ' || roll_up_columns(ARRAY['voltage_a', 'voltage_b', 'voltage_c', 'current_a', 'current_b', 'current_c', 'active_power', 'reactive_power']) || ',
    PRIMARY KEY (month, meter_id)', 'month', '365 days');
COMMENT ON COLUMN month_rollup.import_register IS 'at the midnight that closes the month; NULL before it is known';

-- What must be rolled up again although no reading changed: which points a meter owes hangs on its installations.
CREATE TABLE rollup_stale (
    seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id  integer NOT NULL,
    first_day date NOT NULL,
    last_day  date NOT NULL
);
COMMENT ON COLUMN rollup_stale.meter_id IS '0: every meter';
-- local midnights lie up to 14 hours from UTC's: a day more on either side
CREATE FUNCTION day_before(at timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS
    $fn$ SELECT CASE WHEN at < '9999-01-01' THEN (at AT TIME ZONE 'UTC')::date - 1 ELSE 'infinity' END $fn$;
CREATE FUNCTION day_after(at timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS
    $fn$ SELECT CASE WHEN at < '9999-01-01' THEN (at AT TIME ZONE 'UTC')::date + 1 ELSE 'infinity' END $fn$;
CREATE FUNCTION installation_changed() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO rollup_stale (meter_id, first_day, last_day) SELECT meter_id, day_before(valid_from), day_after(valid_to) FROM after;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO rollup_stale (meter_id, first_day, last_day) SELECT meter_id, day_before(valid_from), day_after(valid_to) FROM before;
    ELSE  -- what lies between the old end and the new one, not the years that stay as they are
        INSERT INTO rollup_stale (meter_id, first_day, last_day)
            SELECT b.meter_id, day_before(u.lo), day_after(u.hi)
            FROM before b JOIN after a USING (installation_id)
            CROSS JOIN LATERAL (VALUES
                (a.valid_from <> b.valid_from, least(a.valid_from, b.valid_from), greatest(a.valid_from, b.valid_from)),
                (a.valid_to <> b.valid_to, least(a.valid_to, b.valid_to), greatest(a.valid_to, b.valid_to)),
                (a.plans <> b.plans, a.valid_from, a.valid_to)) u(differs, lo, hi)
            WHERE u.differs;
    END IF;
    RETURN NULL;
END
$fn$;
CREATE TRIGGER roll_up_on_insert AFTER INSERT ON installation REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION installation_changed();
CREATE TRIGGER roll_up_on_update AFTER UPDATE ON installation REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION installation_changed();
CREATE TRIGGER roll_up_on_delete AFTER DELETE ON installation REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION installation_changed();
CREATE FUNCTION meter_changed() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    INSERT INTO rollup_stale (meter_id, first_day, last_day)
        SELECT meter_id, '-infinity', 'infinity' FROM before JOIN after USING (meter_id) WHERE before.digits <> after.digits;
    RETURN NULL;
END
$fn$;
CREATE TRIGGER roll_up_on_update AFTER UPDATE ON meter REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION meter_changed();

-- The hour of the slots that end in it, for dashboards. Where TimescaleDB is licensed a continuous aggregate of this name stands instead.
DO $do$
BEGIN
    IF current_setting('timescaledb.license', true) = 'timescale' AND EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    -- a slot is named by its end: the one that ends at 11:00 lies in the hour that begins at 10:00
    CREATE VIEW slot_hour AS
    SELECT meter_id, date_bin('1 hour', ts - interval '1 microsecond', timestamptz '2001-01-01 00:00:00+00') AS hour, count(*) AS n,
           min(voltage_a) AS voltage_a_min, avg(voltage_a) AS voltage_a_avg, max(voltage_a) AS voltage_a_max,
           min(voltage_b) AS voltage_b_min, avg(voltage_b) AS voltage_b_avg, max(voltage_b) AS voltage_b_max,
           min(voltage_c) AS voltage_c_min, avg(voltage_c) AS voltage_c_avg, max(voltage_c) AS voltage_c_max,
           avg(active_power) AS active_power_avg, max(active_power) AS active_power_max
    FROM slot_read GROUP BY 1, 2;
END
$do$;

-- Where the utility keeps something longer or shorter than the defaults in store/retention.py say.
CREATE TABLE retention (
    kind text PRIMARY KEY,
    keep interval NOT NULL CHECK (keep > interval '0'),
    who  text NOT NULL,
    at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Before this instant a table is empty on purpose: what was there has been thrown away.
CREATE TABLE thrown_away (
    parent text PRIMARY KEY,
    before timestamptz NOT NULL
);
ALTER TABLE cluster ADD COLUMN feed_xid xid8 NOT NULL DEFAULT '0', ADD COLUMN feed_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN feed_told integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN cluster.feed_xid IS 'with feed_seq: the highest row that retention removed from the feed; feed_told: how many changes it told of';

-- What was saved, restored and rehearsed, and how it ended.
CREATE TABLE backup_run (
    run_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text NOT NULL CHECK (kind IN ('backup', 'restore', 'rehearsal')),
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    folder  text NOT NULL,
    seconds double precision NOT NULL,
    bytes   bigint NOT NULL,
    ok      boolean NOT NULL,
    detail  text NOT NULL
);
