-- Everything that makes a wire act is an order. Its state table is headend/control/order_state.py.

CREATE TABLE lease (
    terminal_id integer PRIMARY KEY REFERENCES terminal,
    owner       text NOT NULL,
    epoch       bigint NOT NULL,
    until       timestamptz NOT NULL
);
COMMENT ON TABLE lease IS 'which collector owns the terminal; server time; a higher epoch fences the owner before it';

CREATE TABLE orders (
    order_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('read', 'clock', 'relay')),
    action       text NOT NULL DEFAULT '',
    meter_id     integer NOT NULL REFERENCES meter,
    terminal_id  integer NOT NULL REFERENCES terminal,
    priority     smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9),
    state        text NOT NULL,
    is_open      boolean NOT NULL,
    reason       text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    approved_by  text,
    approved_at  timestamptz,
    expires_at   timestamptz NOT NULL,
    epoch        bigint,
    sent_at      timestamptz,
    ended_at     timestamptz,
    outcome      text NOT NULL DEFAULT '',
    result       jsonb NOT NULL DEFAULT '{}',
    request_key  text UNIQUE
);
CREATE UNIQUE INDEX one_open_relay_order ON orders (meter_id) WHERE kind = 'relay' AND is_open;
CREATE INDEX open_orders ON orders (terminal_id, priority, order_id) WHERE is_open;
CREATE INDEX orders_by_meter ON orders (meter_id, order_id);

CREATE TABLE order_event (
    order_id bigint NOT NULL REFERENCES orders,
    seq      integer NOT NULL,
    at       timestamptz NOT NULL,
    event    text NOT NULL,
    state    text NOT NULL,
    who      text NOT NULL,
    detail   text NOT NULL DEFAULT '',
    recorded timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, seq)
);
COMMENT ON COLUMN order_event.at IS 'domain time; recorded is the server''s';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    RAISE EXCEPTION '% is append-only: make a correcting entry', TG_TABLE_NAME;
END
$fn$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON order_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION order_changed() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM pg_notify('headend_orders', NEW.terminal_id::text);
    RETURN NULL;
END
$fn$;
CREATE TRIGGER wake_owner AFTER INSERT OR UPDATE OF state ON orders FOR EACH ROW EXECUTE FUNCTION order_changed();
