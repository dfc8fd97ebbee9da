-- Runs at every start on hypertables. What only the licence 'timescale' allows is called under that licence alone; under 'apache' nothing
-- happens here. Retention is no business of this file: our own job drops chunks on every server alike, so that one place owns the policy.

DO $do$
DECLARE
    what text;
BEGIN
    IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
        RETURN;
    END IF;

    -- The load curves are most of the bytes, and a week's chunk has 672 rows of a meter to put together: a third of the bytes is left with noise in
    -- every value (measured). Everything else stays as it is: of freezes and rare quantities a chunk has too few rows a meter to gain
    -- much; the ledger's rows are locked while readings are written, and compressed rows cannot be locked; exchanges are packed already.
    FOREACH what IN ARRAY ARRAY['slot_read', 'slot_phase_read'] LOOP
        IF NOT (SELECT compression_enabled FROM timescaledb_information.hypertables
                WHERE hypertable_schema = current_schema AND hypertable_name = what) THEN
            EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                           what, 'meter_id', 'ts');
        END IF;
        -- By then most of what an outage held back has been filled in. What comes later still goes in, at a price (scripts/_bench/late.py).
        PERFORM add_compression_policy(what, compress_after => interval '14 days', if_not_exists => true);
    END LOOP;

    -- The hour of the slots that end in it. A slot is named by its end, so the hour that begins at 10:00 is (10:00, 11:00]: buckets that begin
    -- a microsecond after the hour are just that. The same columns as the plain view that stands for it without the licence.
    IF to_regclass('slot_hour_kept') IS NULL THEN
        EXECUTE $view$
            CREATE MATERIALIZED VIEW slot_hour_kept WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
            SELECT meter_id, time_bucket('1 hour', ts, "offset" => interval '1 microsecond') AS bucket, count(*) AS n,
                   min(voltage_a) AS voltage_a_min, avg(voltage_a) AS voltage_a_avg, max(voltage_a) AS voltage_a_max,
                   min(voltage_b) AS voltage_b_min, avg(voltage_b) AS voltage_b_avg, max(voltage_b) AS voltage_b_max,
                   min(voltage_c) AS voltage_c_min, avg(voltage_c) AS voltage_c_avg, max(voltage_c) AS voltage_c_max,
                   avg(active_power) AS active_power_avg, max(active_power) AS active_power_max
            FROM slot_read GROUP BY 1, 2 WITH NO DATA
        $view$;
        -- No beginning: whatever changed is aggregated again, however old, and the hours of slots that were thrown away go with them, so that
        -- the view stays what a plain one would be. New hours are read from the slots themselves; a change of older ones shows within the hour.
        PERFORM add_continuous_aggregate_policy('slot_hour_kept', start_offset => NULL, end_offset => interval '1 hour',
                                                schedule_interval => interval '1 hour');
        DROP VIEW IF EXISTS slot_hour;
        CREATE VIEW slot_hour AS
            SELECT meter_id, bucket - interval '1 microsecond' AS hour, n,
                   voltage_a_min, voltage_a_avg, voltage_a_max, voltage_b_min, voltage_b_avg, voltage_b_max,
                   voltage_c_min, voltage_c_avg, voltage_c_max, active_power_avg, active_power_max
            FROM slot_hour_kept;
    END IF;

    -- The way back: under 'apache' compressed readings cannot be seen at all, so they must be unpacked while the licence is still there.
    CREATE OR REPLACE PROCEDURE leave_licence() LANGUAGE plpgsql AS $leave$
    DECLARE
        what text;
        piece regclass;
    BEGIN
        DROP VIEW IF EXISTS slot_hour;
        DROP MATERIALIZED VIEW IF EXISTS slot_hour_kept;
        CREATE VIEW slot_hour AS
            SELECT meter_id, date_bin('1 hour', ts - interval '1 microsecond', timestamptz '2001-01-01 00:00:00+00') AS hour, count(*) AS n,
                   min(voltage_a) AS voltage_a_min, avg(voltage_a) AS voltage_a_avg, max(voltage_a) AS voltage_a_max,
                   min(voltage_b) AS voltage_b_min, avg(voltage_b) AS voltage_b_avg, max(voltage_b) AS voltage_b_max,
                   min(voltage_c) AS voltage_c_min, avg(voltage_c) AS voltage_c_avg, max(voltage_c) AS voltage_c_max,
                   avg(active_power) AS active_power_avg, max(active_power) AS active_power_max
            FROM slot_read GROUP BY 1, 2;
        FOREACH what IN ARRAY ARRAY['slot_read', 'slot_phase_read'] LOOP
            PERFORM remove_compression_policy(what, if_exists => true);
            COMMIT;
            FOR piece IN SELECT c FROM show_chunks(what::regclass) c LOOP
                PERFORM decompress_chunk(piece, if_compressed => true);
                COMMIT; -- a chunk at a time: all at once would need as much log as there are readings
            END LOOP;
            EXECUTE format('ALTER TABLE %I SET (timescaledb.compress = false)', what);
        END LOOP;
    END
    $leave$;
END
$do$;
