-- The archive of the whole network (档案): who runs it, what it consists of, and what each metering point is to each part of it. What a
-- thing is stands in its own table and is corrected in place; where it hangs stands in a table of spans [valid_from, valid_to).

-- Two spans of one thing must not overlap. GiST exclusion would say it in a line, but over plain ranges it costs 0.2 ms a row
-- and growing, and btree_gist is not on every server. So: a look after each statement, under a lock that its transaction keeps; whoever
-- comes second waits, and then sees what the first has committed (READ COMMITTED, as every connection of this program is).
-- Arguments: the columns that name what a span is of.
CREATE FUNCTION refuse_overlap() RETURNS trigger LANGUAGE plpgsql AS $fn$
DECLARE
    keys  text := (SELECT string_agg(format('o.%1$I = n.%1$I', k), ' AND ') FROM unnest(TG_ARGV) k);
    names text := (SELECT string_agg(format('%1$L || n.%2$I', k || ' ', k), ' || '', '' || ') FROM unnest(TG_ARGV) k);
    found text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('archive'));
    EXECUTE format(
        'SELECT %s || '' from '' || greatest(n.valid_from, o.valid_from) FROM changed n JOIN %I o ON %s '
        'AND o.valid_from < n.valid_to AND o.valid_to > n.valid_from AND (o.*) IS DISTINCT FROM (n.*) LIMIT 1', names, TG_TABLE_NAME, keys
    ) INTO found;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'two rows of % would hold at once: %', TG_TABLE_NAME, found USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NULL;
END
$fn$;

-- `keys`: as many columns as together name what must have one span at a time.
CREATE FUNCTION refuse_overlaps_in(what text, keys text) RETURNS void LANGUAGE plpgsql AS $fn$
DECLARE
    name  text := what || '_overlap_' || replace(keys, ', ', '_');
    found text;
BEGIN
    EXECUTE format(
        'SELECT (%1$s)::text || '' from '' || valid_from FROM (SELECT *, max(valid_to) OVER (PARTITION BY %1$s ORDER BY valid_from '
        'ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM %2$I) s WHERE before > valid_from LIMIT 1', keys, what
    ) INTO found;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'two rows of % hold at once, (%): %; end the earlier of them, then migrate again', what, keys, found;
    END IF;
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS changed FOR EACH STATEMENT '
                   'EXECUTE FUNCTION refuse_overlap(%s)', name || '_new', what, keys);
    EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %I REFERENCING NEW TABLE AS changed FOR EACH STATEMENT '
                   'EXECUTE FUNCTION refuse_overlap(%s)', name, what, keys);
END
$fn$;

-- Where a thing hangs, over time.
CREATE FUNCTION make_spans(thing text, columns text) RETURNS void LANGUAGE plpgsql AS $fn$
BEGIN
    EXECUTE format('CREATE TABLE %1$I (%2$I integer NOT NULL REFERENCES %3$I, %4$s, valid_from timestamptz NOT NULL, '
                   'valid_to timestamptz NOT NULL DEFAULT ''infinity'' CHECK (valid_to > valid_from), PRIMARY KEY (%2$I, valid_from))',
                   thing || '_span', thing || '_id', thing, columns);
    PERFORM refuse_overlaps_in(thing || '_span', thing || '_id');
END
$fn$;

CREATE TABLE organisation (
    organisation_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code            text NOT NULL UNIQUE,
    name            text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('province', 'city', 'county', 'station'))
);
COMMENT ON TABLE organisation IS 'who runs the network (供电单位): a tree of province (省), city (市), county (县) and station (供电所)';
SELECT make_spans('organisation', 'parent_id integer REFERENCES organisation CHECK (parent_id <> organisation_id)');

CREATE TABLE substation (
    substation_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code          text NOT NULL UNIQUE,
    name          text NOT NULL
);
COMMENT ON TABLE substation IS '变电站';
SELECT make_spans('substation', 'organisation_id integer REFERENCES organisation');

CREATE TABLE bus (
    bus_id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code          text NOT NULL UNIQUE,
    name          text NOT NULL,
    substation_id integer NOT NULL REFERENCES substation,
    voltage_kv    numeric(7, 3) NOT NULL CHECK (voltage_kv > 0)
);
COMMENT ON TABLE bus IS '母线';
CREATE INDEX bus_by_substation ON bus (substation_id);

CREATE TABLE line (
    line_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text NOT NULL UNIQUE,
    name       text NOT NULL,
    voltage_kv numeric(7, 3) NOT NULL CHECK (voltage_kv > 0)
);
COMMENT ON TABLE line IS 'a line or feeder (线路, 馈线)';
SELECT make_spans('line', 'bus_id integer REFERENCES bus, organisation_id integer REFERENCES organisation');
COMMENT ON COLUMN line_span.bus_id IS 'the bus it is fed from';

CREATE TABLE transformer (
    transformer_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code           text NOT NULL UNIQUE,
    name           text NOT NULL,
    owner          text NOT NULL CHECK (owner IN ('public', 'customer')),
    capacity_kva   numeric(10, 1) NOT NULL CHECK (capacity_kva > 0),
    p0_kw          numeric(9, 4) CHECK (p0_kw > 0),
    pk_kw          numeric(9, 4) CHECK (pk_kw > 0),
    i0_percent     numeric(6, 3) CHECK (i0_percent > 0),
    uk_percent     numeric(6, 3) CHECK (uk_percent > 0)
);
COMMENT ON TABLE transformer IS 'one physical transformer (变压器) and what its plate says';
COMMENT ON COLUMN transformer.owner IS 'public: 公变; customer: 专变';
COMMENT ON COLUMN transformer.p0_kw IS 'no-load loss (空载损耗)';
COMMENT ON COLUMN transformer.pk_kw IS 'load loss at rated current (负载损耗)';
COMMENT ON COLUMN transformer.i0_percent IS 'no-load current (空载电流), of the rated one';
COMMENT ON COLUMN transformer.uk_percent IS 'short-circuit impedance (短路阻抗)';
SELECT make_spans('transformer', 'line_id integer REFERENCES line, bus_id integer REFERENCES bus');
COMMENT ON COLUMN transformer_span.bus_id IS 'a main transformer (主变): the bus it takes from';

SELECT make_spans('area', 'organisation_id integer REFERENCES organisation, line_id integer REFERENCES line, '
                          'transformer_id integer REFERENCES transformer');
SELECT make_spans('terminal', 'organisation_id integer REFERENCES organisation');
CREATE INDEX area_span_by_line ON area_span (line_id);

CREATE TABLE sim (
    sim_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text NOT NULL UNIQUE,
    number     text NOT NULL DEFAULT '',
    operator   text NOT NULL DEFAULT '',
    plan_bytes bigint CHECK (plan_bytes >= 0),
    cell       text NOT NULL DEFAULT ''
);
COMMENT ON TABLE sim IS 'SIM card; code is its ICCID';
COMMENT ON COLUMN sim.plan_bytes IS 'data plan: bytes a month';
COMMENT ON COLUMN sim.cell IS 'radio cell that it was last known in';
SELECT make_spans('sim', 'terminal_id integer REFERENCES terminal');
CREATE INDEX sim_span_by_terminal ON sim_span (terminal_id);

ALTER TABLE point ADD COLUMN kind text CHECK (kind IN ('customer', 'area', 'gateway', 'generation'));
COMMENT ON COLUMN point.kind IS 'customer: 用户; area: 台区考核; gateway: 关口; generation: 发电; NULL: not known';
SELECT make_spans('point', 'organisation_id integer REFERENCES organisation');

ALTER TABLE installation ADD COLUMN pn smallint CHECK (pn > 0);
COMMENT ON COLUMN installation.pn IS 'measuring point number (测量点号) in the terminal';
SELECT refuse_overlaps_in('installation', 'meter_id');
SELECT refuse_overlaps_in('installation', 'point_id');
-- two meters that answer to one address behind one terminal would be read as each other
CREATE UNIQUE INDEX installation_route ON installation (terminal_id, address) WHERE valid_to = 'infinity';
CREATE UNIQUE INDEX installation_pn ON installation (terminal_id, pn) WHERE valid_to = 'infinity';

SELECT make_spans('customer', 'industry text NOT NULL, capacity_kva numeric(12, 2) CHECK (capacity_kva > 0)');
COMMENT ON COLUMN customer_span.industry IS '行业: code or name as the marketing system has it; empty: not known';
COMMENT ON COLUMN customer_span.capacity_kva IS 'contract capacity (合同容量)';
-- a second account on a point would be charged for the same energy
SELECT refuse_overlaps_in('account', 'point_id');

-- What a metering point is to a loss object, which may be any part of the network. A public transformer's meter is a receive point of its line and
-- the supply point of its area.
ALTER TABLE point_role RENAME TO loss_role;
ALTER TABLE loss_role DROP CONSTRAINT point_role_pkey;
ALTER TABLE loss_role ALTER COLUMN area_id DROP NOT NULL;
ALTER TABLE loss_role
    ADD COLUMN loss_role_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ADD COLUMN line_id         integer REFERENCES line,
    ADD COLUMN bus_id          integer REFERENCES bus,
    ADD COLUMN substation_id   integer REFERENCES substation,
    ADD COLUMN transformer_id  integer REFERENCES transformer,
    ADD COLUMN organisation_id integer REFERENCES organisation,
    ADD COLUMN voltage_kv      numeric(7, 3) CHECK (voltage_kv > 0),
    ADD CHECK (num_nonnulls(area_id, line_id, bus_id, substation_id, transformer_id, organisation_id) = 1),
    ADD CHECK (voltage_kv IS NULL OR organisation_id IS NOT NULL);
ALTER TABLE loss_role
    ADD COLUMN kind text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN area_id IS NOT NULL THEN 'area' WHEN line_id IS NOT NULL THEN 'line' WHEN bus_id IS NOT NULL THEN 'bus'
        WHEN substation_id IS NOT NULL THEN 'substation' WHEN transformer_id IS NOT NULL THEN 'transformer'
        WHEN voltage_kv IS NOT NULL THEN 'voltage' ELSE 'organisation' END) STORED,
    ADD COLUMN object_id integer NOT NULL GENERATED ALWAYS AS
        (coalesce(area_id, line_id, bus_id, substation_id, transformer_id, organisation_id)) STORED,
    ADD COLUMN level_kv numeric(7, 3) NOT NULL GENERATED ALWAYS AS (coalesce(voltage_kv, 0)) STORED;
COMMENT ON TABLE loss_role IS 'what a metering point is to a loss object (线损对象): an area, a line, a bus, a substation, a transformer, a region '
    '(organisation), or a voltage level of an organisation';
COMMENT ON COLUMN loss_role.object_id IS 'with kind and level_kv (0: no voltage level) it names the loss object';
CREATE INDEX loss_role_by_point ON loss_role (point_id);
CREATE INDEX loss_role_by_line ON loss_role (line_id) WHERE line_id IS NOT NULL;
ALTER INDEX point_role_by_area RENAME TO loss_role_by_area;
SELECT refuse_overlaps_in('loss_role', 'point_id, kind, object_id, level_kv');

-- The roles in transformer areas alone, as most readers want them.
CREATE VIEW area_role AS SELECT point_id, area_id, role, valid_from, valid_to FROM loss_role WHERE area_id IS NOT NULL;

DROP FUNCTION make_spans(text, text);
DROP FUNCTION refuse_overlaps_in(text, text);
