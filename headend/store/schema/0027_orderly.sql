-- Orderly use of electricity (有序用电): plans, whom they call, what terminals were told for them, and what it has brought.

ALTER TABLE customer_span ADD COLUMN security_kw numeric(12, 2) CHECK (security_kw >= 0);
COMMENT ON COLUMN customer_span.security_kw IS 'protected minimum (保安负荷): what a customer must keep to be safe; NULL: not known, and then no plan calls him';

CREATE TABLE orderly_plan (
    plan_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    document    jsonb NOT NULL,
    first_day   date NOT NULL,
    last_day    date NOT NULL CHECK (last_day >= first_day),
    begins      timestamptz NOT NULL,
    ends        timestamptz NOT NULL CHECK (ends > begins),
    state       text NOT NULL CHECK (state IN ('draft', 'approved', 'running', 'ended', 'withdrawn')),
    created_by  text NOT NULL CHECK (created_by <> ''),
    created_at  timestamptz NOT NULL,
    looked_at   timestamptz,
    left_out    jsonb NOT NULL DEFAULT '[]',
    approved_by text,
    approved_at timestamptz,
    started_at  timestamptz,
    over_at     timestamptz,
    CHECK (approved_by <> created_by),
    CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
    CHECK (state NOT IN ('approved', 'running', 'ended') OR approved_by IS NOT NULL),
    CHECK ((state IN ('ended', 'withdrawn')) = (over_at IS NOT NULL))
);
COMMENT ON COLUMN orderly_plan.document IS 'as headend/control/orderly.py reads it; not changed, another plan is drafted instead';
COMMENT ON COLUMN orderly_plan.begins IS 'beginning of the first period of the first day; ends: end of the last one of the last day';
COMMENT ON COLUMN orderly_plan.left_out IS 'who is not called, and why, as it was looked at last';
CREATE INDEX orderly_plan_by_state ON orderly_plan (state) WHERE state IN ('approved', 'running');

-- One customer a terminal: where several hang behind one, none of them is called.
CREATE TABLE orderly_participant (
    plan_id     bigint NOT NULL REFERENCES orderly_plan,
    terminal_id integer NOT NULL REFERENCES terminal,
    rank        integer NOT NULL,
    customer_id integer NOT NULL REFERENCES customer,
    points      integer[] NOT NULL CHECK (cardinality(points) > 0),
    call        integer NOT NULL,
    usual_kw    double precision NOT NULL,
    minimum_w   bigint NOT NULL CHECK (minimum_w >= 0),
    setpoint_w  bigint NOT NULL CHECK (setpoint_w > 0),
    reduce_kw   double precision NOT NULL CHECK (reduce_kw > 0),
    least_kw    double precision NOT NULL,
    raised      boolean NOT NULL,
    PRIMARY KEY (plan_id, terminal_id),
    UNIQUE (plan_id, rank),
    -- whatever a program or a person writes here
    CONSTRAINT never_below_the_minimum CHECK (setpoint_w >= minimum_w)
);
COMMENT ON COLUMN orderly_participant.reduce_kw IS 'expected, on average of the days of the plan; least_kw: on the day that gives least';
CREATE FUNCTION refuse_unless_draft() RETURNS trigger LANGUAGE plpgsql AS $fn$
DECLARE
    plan bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.plan_id ELSE NEW.plan_id END;
BEGIN
    IF (SELECT state FROM orderly_plan WHERE plan_id = plan) <> 'draft' THEN
        RAISE EXCEPTION 'plan % is no draft any more: whom it calls, and down to what, stands', plan;
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$fn$;
CREATE TRIGGER only_in_a_draft BEFORE INSERT OR UPDATE OR DELETE ON orderly_participant FOR EACH ROW EXECUTE FUNCTION refuse_unless_draft();

-- What happened to a plan, by whom; in the audit.
CREATE TABLE orderly_event (
    orderly_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id          bigint NOT NULL REFERENCES orderly_plan,
    at               timestamptz NOT NULL,
    act              text NOT NULL,
    state            text NOT NULL,
    who              text NOT NULL CHECK (who <> ''),
    said             jsonb NOT NULL
);
COMMENT ON COLUMN orderly_event.said IS 'of a draft the document, of an approval every setpoint, of a withdrawal the reason';
CREATE INDEX orderly_event_by_plan ON orderly_event (plan_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderly_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON orderly_event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION chain_row('orderly', 'orderly_event_id');
CREATE TRIGGER kept BEFORE DELETE ON orderly_plan FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a participant's terminal was told for a plan: the control switched on, or off again, attempt by attempt.
CREATE TABLE orderly_order (
    plan_id     bigint NOT NULL,
    terminal_id integer NOT NULL,
    act         text NOT NULL CHECK (act IN ('on', 'off')),
    attempt     integer NOT NULL CHECK (attempt > 0),
    order_id    bigint REFERENCES orders,
    at          timestamptz NOT NULL,
    why         text NOT NULL DEFAULT '',
    PRIMARY KEY (plan_id, terminal_id, act, attempt),
    FOREIGN KEY (plan_id, terminal_id) REFERENCES orderly_participant,
    CHECK ((order_id IS NULL) = (why <> ''))
);
COMMENT ON COLUMN orderly_order.why IS 'why there is no order: he may not be called any more';
CREATE INDEX orderly_order_by_order ON orderly_order (order_id);

-- What a day has brought, of all whose curves are known, and of each; measured again when late readings come.
CREATE TABLE orderly_day (
    plan_id      bigint NOT NULL REFERENCES orderly_plan,
    day          date NOT NULL,
    measured_at  timestamptz NOT NULL,
    participants integer NOT NULL,
    known        integer NOT NULL,
    followed     integer NOT NULL,
    asked_kwh    double precision NOT NULL,
    baseline_kwh double precision,
    taken_kwh    double precision,
    reduced_kwh  double precision,
    low_kwh      double precision,
    high_kwh     double precision,
    PRIMARY KEY (plan_id, day)
);
COMMENT ON TABLE orderly_day IS 'kWh within the periods of the day; baseline to high of the known participants together, NULL where none is';
CREATE TABLE orderly_effect (
    plan_id      bigint NOT NULL,
    day          date NOT NULL,
    terminal_id  integer NOT NULL,
    asked_kwh    double precision NOT NULL,
    baseline_kwh double precision,
    taken_kwh    double precision,
    reduced_kwh  double precision,
    low_kwh      double precision,
    high_kwh     double precision,
    slots        integer NOT NULL,
    above        integer,
    why          text NOT NULL DEFAULT '',
    PRIMARY KEY (plan_id, day, terminal_id),
    FOREIGN KEY (plan_id, day) REFERENCES orderly_day ON DELETE CASCADE,
    CHECK ((reduced_kwh IS NULL) = (why <> ''))
);
COMMENT ON COLUMN orderly_effect.above IS 'slots of those counted that lay above the setpoint; NULL: not all of them are known, or none is counted';
COMMENT ON COLUMN orderly_effect.why IS 'what is missing, where nothing can be told';

-- Where each participant's terminal stands. touched: it was, or may have been, told to control; held, released: read back, and not told otherwise
-- since; taken_over: another plan has told it something since, or is about to, and lets it go
-- itself.
CREATE VIEW orderly_standing AS
    SELECT s.*, EXISTS (
        SELECT FROM orderly_order x JOIN orders y ON y.order_id = x.order_id
        WHERE (y.sent_at IS NOT NULL OR y.is_open) AND x.terminal_id = s.terminal_id AND x.plan_id <> s.plan_id AND x.act = 'on' AND x.at > s.on_at) AS taken_over
    FROM (
        SELECT q.plan_id, q.terminal_id, bool_or(coalesce(o.sent_at IS NOT NULL AND l.act = 'on', false)) AS touched,
               coalesce((array_agg(o.state = 'verified' ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'off'))[1], false) AS released,
               coalesce((array_agg(o.state = 'verified' ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'on'))[1], false)
                   AND NOT coalesce(bool_or(o.sent_at IS NOT NULL) FILTER (WHERE l.act = 'off'), false) AS held,
               (array_agg(l.at ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'on'))[1] AS on_at,
               (array_agg(l.order_id ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'on'))[1] AS on_order,
               (array_agg(o.state ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'on'))[1] AS on_state,
               coalesce((array_agg(o.is_open ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'on'))[1], false) AS on_open,
               coalesce(max(l.attempt) FILTER (WHERE l.act = 'on'), 0) AS on_attempt,
               (array_agg(l.at ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'off'))[1] AS off_at,
               (array_agg(l.order_id ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'off'))[1] AS off_order,
               (array_agg(o.state ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'off'))[1] AS off_state,
               coalesce((array_agg(o.is_open ORDER BY l.attempt DESC) FILTER (WHERE l.act = 'off'))[1], false) AS off_open,
               coalesce(max(l.attempt) FILTER (WHERE l.act = 'off'), 0) AS off_attempt,
               coalesce((array_agg(coalesce(nullif(l.why, ''), o.outcome) ORDER BY l.act = 'off' DESC, l.attempt DESC)
                         FILTER (WHERE l.terminal_id IS NOT NULL))[1], '') AS why
        FROM orderly_participant q LEFT JOIN orderly_order l USING (plan_id, terminal_id) LEFT JOIN orders o ON o.order_id = l.order_id
        GROUP BY q.plan_id, q.terminal_id) s;
