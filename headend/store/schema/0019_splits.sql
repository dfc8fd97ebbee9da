-- Losses of lines, buses, transformers, regions and voltage levels, by day and by month; of transformer areas by month (their days are in
-- loss_result).

ALTER TABLE transformer ADD COLUMN load_coefficient numeric(6, 3) CHECK (load_coefficient >= 1);
COMMENT ON COLUMN transformer.load_coefficient IS 'how much more its changing load loses than an even one (square of the form factor); NULL: the default';

CREATE TABLE object_loss (
    kind        text NOT NULL CHECK (kind IN ('area', 'line', 'bus', 'transformer', 'substation', 'region', 'voltage')),
    object_id   integer NOT NULL,
    level_v     integer NOT NULL DEFAULT 0 CHECK ((level_v > 0) = (kind = 'voltage')),
    period      text NOT NULL CHECK (period IN ('day', 'month')),
    first_day   date NOT NULL,
    status      text NOT NULL CHECK (status IN ('known', 'bounded', 'unknown')),
    supplied    bigint,
    sold        bigint,
    loss        bigint,
    loss_low    bigint,
    loss_high   bigint,
    unmetered   bigint NOT NULL DEFAULT 0 CHECK (unmetered >= 0),
    rate        double precision,
    iron        bigint,
    copper      bigint,
    load        double precision,
    method      text NOT NULL CHECK (method IN ('registers', 'days', 'curve', 'energy')),
    points_due  integer NOT NULL,
    points_have integer NOT NULL,
    missing     integer[] NOT NULL DEFAULT '{}',
    why         text NOT NULL DEFAULT '',
    computed_at timestamptz NOT NULL,
    PRIMARY KEY (kind, period, first_day, object_id, level_v),
    CHECK (CASE status WHEN 'known' THEN loss IS NOT NULL WHEN 'unknown' THEN loss IS NULL ELSE true END),
    CHECK (num_nonnulls(loss_low, loss_high, supplied) = CASE status WHEN 'unknown' THEN 0 ELSE 3 END),
    CHECK (num_nonnulls(sold, loss) IN (0, 2)),
    CHECK (num_nonnulls(iron, copper) IN (0, 2))
);
CREATE INDEX object_loss_by_object ON object_loss (kind, object_id, level_v, period, first_day);
COMMENT ON COLUMN object_loss.object_id IS 'area_id, line_id, bus_id, transformer_id or substation_id; of regions and their voltage levels organisation_id';
COMMENT ON COLUMN object_loss.supplied IS '1e-4 kWh, primary side; of a bounded object what was metered';
COMMENT ON COLUMN object_loss.loss IS '1e-4 kWh; the truth lies within [loss_low, loss_high]; a bounded object has these alone where a part of it is missing';
COMMENT ON COLUMN object_loss.unmetered IS '1e-4 kWh: what its missing and unmetered parts may have taken at most';
COMMENT ON COLUMN object_loss.iron IS '1e-4 kWh: no-load loss of a transformer by its plate; copper: load loss; load: mean share of its capacity';
COMMENT ON COLUMN object_loss.method IS 'registers: both ends of the period; days: their sum; curve, energy: a transformer by its plate';
COMMENT ON COLUMN object_loss.missing IS 'point_ids that are missing, 100 at most: points_due less points_have says how many';

-- Days whose losses are to be made again, because readings came that touch them.
CREATE TABLE split_stale (
    day date PRIMARY KEY
);
