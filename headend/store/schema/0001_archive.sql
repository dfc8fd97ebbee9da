-- The archive (档案): what exists, where it is installed and whose it is. Everything that can change is dated [valid_from, valid_to).

CREATE TABLE cluster (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch       integer NOT NULL DEFAULT 1,  -- raised by a restore, so that a feed cursor from before it is recognised
    zone        text NOT NULL DEFAULT 'Asia/Shanghai',
    limits      jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN cluster.zone IS 'civil time of every meter, day and bill of this store; fixed once readings exist';
COMMENT ON COLUMN cluster.limits IS 'the utility''s limits for trips, where they differ from headend/control/facts.py';
INSERT INTO cluster DEFAULT VALUES;

CREATE TABLE area (
    area_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code         text NOT NULL UNIQUE,
    name         text NOT NULL,
    capacity_kva numeric(10, 1) NOT NULL CHECK (capacity_kva > 0)
);
COMMENT ON TABLE area IS 'transformer area (台区): one public transformer and the customers behind it';

CREATE TABLE terminal (
    terminal_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code        text NOT NULL UNIQUE,
    name        text NOT NULL,
    protocol    text NOT NULL CHECK (protocol IN ('dlt645', 'dlms')),
    link        text NOT NULL CHECK (link IN ('dial-out', 'dial-in', 'serial')),
    endpoint    text CHECK ((link = 'dial-in') = (endpoint IS NULL)),
    login       text UNIQUE CHECK ((link = 'dial-in') = (login IS NOT NULL)),
    last_seen   timestamptz,
    online      boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN terminal.last_seen IS 'domain time of the last exchange with anything behind this terminal';

CREATE TABLE point (
    point_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code     text NOT NULL UNIQUE
);
COMMENT ON TABLE point IS 'metering point (计量点): accounts and topology hang here, so that a meter exchange is invisible above';

CREATE TABLE point_role (
    point_id   integer NOT NULL REFERENCES point,
    area_id    integer NOT NULL REFERENCES area,
    role       text NOT NULL CHECK (role IN ('supply', 'receive', 'auxiliary')),
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
    PRIMARY KEY (point_id, area_id, valid_from)
);
CREATE INDEX point_role_by_area ON point_role (area_id);

CREATE TABLE meter (
    meter_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset    text NOT NULL UNIQUE,
    phases   smallint NOT NULL CHECK (phases IN (1, 3)),
    accuracy real NOT NULL CHECK (accuracy > 0 AND accuracy <= 0.05)
);
COMMENT ON TABLE meter IS 'one physical device; meter_id is never reused';
COMMENT ON COLUMN meter.accuracy IS 'class as a fraction: class 1 = 0.01';

CREATE TABLE installation (
    installation_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    integer NOT NULL REFERENCES meter,
    point_id    integer NOT NULL REFERENCES point,
    terminal_id integer NOT NULL REFERENCES terminal,
    address     text NOT NULL,
    ct          integer NOT NULL CHECK (ct > 0),
    pt          integer NOT NULL CHECK (pt > 0),
    secrets     jsonb NOT NULL DEFAULT '{}',
    valid_from  timestamptz NOT NULL,
    valid_to    timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
    UNIQUE (meter_id, valid_from)
);
CREATE INDEX installation_by_terminal ON installation (terminal_id);
CREATE INDEX installation_by_point ON installation (point_id);
COMMENT ON TABLE installation IS 'a meter on a point behind a terminal for a span: route, protocol address, CT and PT are dated with it';

CREATE TABLE customer (
    customer_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number      text NOT NULL UNIQUE,
    name        text NOT NULL,
    phone       text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN customer.number IS '户号: the key to the marketing system, which leads';

CREATE TABLE account (
    account_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customer,
    point_id    integer NOT NULL REFERENCES point,
    tariff      text NOT NULL,
    prepaid     boolean NOT NULL,
    protected   text NOT NULL DEFAULT '',
    valid_from  timestamptz NOT NULL,
    valid_to    timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
    UNIQUE (customer_id, point_id, valid_from)
);
CREATE INDEX account_by_point ON account (point_id);
COMMENT ON COLUMN account.protected IS 'why this customer must never be cut off (保电); empty: not protected';

CREATE TABLE calendar_day (
    day  date PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('workday', 'weekend', 'holiday', 'no-trip')),
    note text NOT NULL DEFAULT ''
);
COMMENT ON TABLE calendar_day IS 'legal calendar, seeded and editable; a day without a row forbids trips';
