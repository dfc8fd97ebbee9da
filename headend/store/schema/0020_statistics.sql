-- Figures by day, and by what they are asked for: everybody, region, industry, line, maker of the terminal, group.

ALTER TABLE terminal ADD COLUMN maker text NOT NULL DEFAULT '', ADD COLUMN first_data date;
COMMENT ON COLUMN terminal.first_data IS 'the first local day of which anything came through it in time: since then it counts as commissioned (投运)';

CREATE TABLE point_group (
    point_group_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code           text NOT NULL UNIQUE CHECK (code <> ''),
    name           text NOT NULL,
    key_users      boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE point_group IS 'metering points that somebody wants to see together (群组)';
COMMENT ON COLUMN point_group.key_users IS 'its customers are key users (重点用户)';
CREATE TABLE point_group_member (
    point_group_id integer NOT NULL REFERENCES point_group ON DELETE CASCADE,
    point_id       integer NOT NULL REFERENCES point,
    PRIMARY KEY (point_group_id, point_id)
);
CREATE INDEX point_group_member_by_point ON point_group_member (point_id);

SELECT make_partitioned('success_day', '
    day           date NOT NULL,
    dimension     text NOT NULL,
    key           text NOT NULL,
    freeze_due    bigint NOT NULL,
    freeze_once   bigint NOT NULL,
    freeze_cycle  bigint NOT NULL,
    curve_due     bigint NOT NULL,
    curve_present bigint NOT NULL,
    curve_late    bigint NOT NULL,
    curve_absent  bigint NOT NULL,
    commissioned  bigint NOT NULL,
    exchanging    bigint NOT NULL,
    looks         bigint NOT NULL,
    online        bigint NOT NULL,
    points        bigint NOT NULL,
    covered       bigint NOT NULL,
    PRIMARY KEY (day, dimension, key)', 'day', '365 days');
COMMENT ON TABLE success_day IS 'counts that rates are made of: lineloss/statistics/success.py defines them';

SELECT make_partitioned('load_day', '
    day          date NOT NULL,
    dimension    text NOT NULL,
    key          text NOT NULL,
    members      integer NOT NULL,
    whole        integer NOT NULL,
    energy       double precision,
    mean         double precision,
    high         double precision,
    high_at      timestamptz,
    low          double precision,
    low_at       timestamptz,
    factor       double precision,
    simultaneity double precision,
    PRIMARY KEY (day, dimension, key)', 'day', '365 days');
COMMENT ON COLUMN load_day.energy IS 'kWh of those customers of whom every slot is known (whole); loads are kW; NULL: too few are';
COMMENT ON COLUMN load_day.high_at IS 'end of the first slot with the highest load';

SELECT make_partitioned('voltage_day', '
    day       date NOT NULL,
    dimension text NOT NULL,
    key       text NOT NULL,
    class     text NOT NULL CHECK (class IN (''A'', ''B'', ''C'', ''D'')),
    meters    integer NOT NULL,
    monitored bigint NOT NULL,
    above     bigint NOT NULL,
    below     bigint NOT NULL,
    out       bigint NOT NULL,
    lost      bigint NOT NULL,
    PRIMARY KEY (day, dimension, key, class)', 'day', '365 days');
COMMENT ON COLUMN voltage_day.monitored IS 'minutes, as the others; lost: below 60 % of nominal, which is no quality but an outage';

SELECT make_partitioned('terminal_day', '
    day         date NOT NULL,
    terminal_id integer NOT NULL,
    looks       smallint NOT NULL DEFAULT 0,
    online      smallint NOT NULL DEFAULT 0,
    exchanging  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (day, terminal_id)', 'day', '28 days');
COMMENT ON COLUMN terminal_day.looks IS 'how often it was looked at, hourly; online: and found on line';

SELECT make_partitioned('area_forecast', '
    day         date NOT NULL,
    area_id     integer NOT NULL,
    made_at     timestamptz NOT NULL,
    method      text NOT NULL,
    version     smallint NOT NULL,
    like_days   smallint NOT NULL,
    level       double precision NOT NULL,
    energy      real[] NOT NULL,
    naive       real[],
    error       double precision,
    naive_error double precision,
    PRIMARY KEY (day, area_id)', 'day', '28 days');
COMMENT ON COLUMN area_forecast.energy IS 'kWh by slot of the day; naive: the same weekday of the week before, NULL: not known';
COMMENT ON COLUMN area_forecast.error IS 'sum of absolute differences over energy taken; NULL until the day is over, and where a slot of it is missing';

CREATE TABLE outage (
    outage_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day        date NOT NULL,
    area_id    integer NOT NULL REFERENCES area,
    began      timestamptz NOT NULL,
    ended      timestamptz,
    exact      boolean[] NOT NULL CHECK (cardinality(exact) = 2),
    sure       text NOT NULL CHECK (sure IN ('certain', 'likely', 'possible')),
    dark       integer NOT NULL,
    customers  integer NOT NULL,
    heard      integer NOT NULL,
    supply     boolean NOT NULL,
    together   integer NOT NULL,
    version    smallint NOT NULL,
    seen_at    timestamptz NOT NULL,
    UNIQUE (area_id, began),
    CHECK (ended > began)
);
CREATE INDEX outage_by_day ON outage (day);
COMMENT ON TABLE outage IS 'outages of transformer areas, inferred: lineloss/statistics/outage.py defines them';
COMMENT ON COLUMN outage.day IS 'the local day in which it was found; one that lasts over midnight is one of each day, began and ended tell';
COMMENT ON COLUMN outage.ended IS 'NULL: it lasts';
COMMENT ON COLUMN outage.exact IS 'whether began and ended are what meters noted to the second; else they are ends of slots';
COMMENT ON COLUMN outage.together IS 'areas of the same line that went out within a quarter-hour, itself counted';

CREATE TABLE customer_segment (
    customer_id integer NOT NULL REFERENCES customer,
    what        text NOT NULL CHECK (what IN ('profile', 'payment', 'theft', 'shift')),
    version     smallint NOT NULL,
    label       text NOT NULL,
    score       double precision,
    facts       jsonb NOT NULL,
    first_day   date NOT NULL,
    last_day    date NOT NULL,
    computed_at timestamptz NOT NULL,
    PRIMARY KEY (customer_id, what)
);
COMMENT ON TABLE customer_segment IS 'what kind of customer, by a definition with its version: lineloss/statistics/segments.py';
CREATE INDEX customer_segment_by_label ON customer_segment (what, label);
