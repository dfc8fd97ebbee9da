-- What the jobs computed. A result names what it was computed from, so that it can be explained and recomputed.

CREATE TABLE loss_result (
    area_id     integer NOT NULL REFERENCES area,
    day         date NOT NULL,
    status      text NOT NULL CHECK (status IN ('known', 'unknown')),
    supplied    bigint,
    sold        bigint,
    loss        bigint,
    loss_low    bigint,
    loss_high   bigint,
    rate        double precision,
    meters_due  integer NOT NULL,
    meters_complete integer NOT NULL,
    missing     integer[] NOT NULL DEFAULT '{}',
    why         text NOT NULL DEFAULT '',
    computed_at timestamptz NOT NULL,
    PRIMARY KEY (area_id, day),
    CHECK ((status = 'known') = (loss IS NOT NULL AND loss_low IS NOT NULL AND loss_high IS NOT NULL AND supplied IS NOT NULL AND sold IS NOT NULL))
);
COMMENT ON COLUMN loss_result.loss IS '1e-4 kWh, primary side; the truth lies within [loss_low, loss_high]';
COMMENT ON COLUMN loss_result.missing IS 'meter_ids whose registers are missing: why the area is unknown';

CREATE TABLE finding (
    finding_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule         text NOT NULL,
    rule_version integer NOT NULL,
    subject_kind text NOT NULL CHECK (subject_kind IN ('meter', 'area', 'terminal')),
    subject_id   integer NOT NULL,
    day          date NOT NULL,
    severity     text NOT NULL CHECK (severity IN ('info', 'warning', 'alarm')),
    title_en     text NOT NULL,
    title_zh     text NOT NULL,
    evidence     jsonb NOT NULL,
    state        text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'acknowledged', 'withdrawn')),
    first_seen   timestamptz NOT NULL,
    last_seen    timestamptz NOT NULL,
    who          text NOT NULL DEFAULT '',
    UNIQUE (rule, subject_kind, subject_id, day)
);
CREATE INDEX finding_by_day ON finding (day, severity);
COMMENT ON COLUMN finding.state IS 'withdrawn: a later run over more complete data no longer sees it';

CREATE TABLE job_run (
    run_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job      text NOT NULL,
    day      date NOT NULL,
    started  timestamptz NOT NULL,
    seconds  double precision NOT NULL,
    ok       boolean NOT NULL,
    summary  text NOT NULL
);
CREATE INDEX job_run_by_job ON job_run (job, run_id DESC);
