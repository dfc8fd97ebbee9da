-- What stands before a trip beside the archive and the money: the kill switch, tokens, days on which an organisation's customers are spared, batches;
-- and one chain over everything that was decided.

ALTER TABLE orders
    ADD COLUMN not_before timestamptz,
    ADD COLUMN batch_id   bigint,
    ADD COLUMN accepted   jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN orders.not_before IS 'not sent before it: the orders of a batch are staggered; NULL: at once';
COMMENT ON COLUMN orders.accepted IS 'gate -> the person who has looked at its doubt and takes it upon himself';

-- The kill switch: one row, read under a lock by the transaction that sends.
CREATE TABLE trip_stop (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    stopped       boolean NOT NULL DEFAULT false,
    reason        text NOT NULL DEFAULT '',
    who           text NOT NULL DEFAULT '',
    at            timestamptz,
    resume_by     text,
    resume_reason text NOT NULL DEFAULT '',
    CHECK (NOT stopped OR (reason <> '' AND who <> '' AND at IS NOT NULL)),
    CHECK (stopped OR resume_by IS NULL)
);
COMMENT ON COLUMN trip_stop.resume_by IS 'the first of the two persons who say that trips may go on';
INSERT INTO trip_stop DEFAULT VALUES;

-- Tokens of one subject: when each was taken. It comes back a whole span after that (minute, hour, day), so that no window of that length sees more
-- than the cap wherever it begins; a bucket that fills evenly lets twice the cap through. Subject 0: everybody of whom nobody knows where he belongs.
CREATE TABLE trip_bucket (
    scope      text NOT NULL CHECK (scope IN ('system', 'organisation', 'line', 'area')),
    subject_id integer NOT NULL,
    taken      timestamptz[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (scope, subject_id)
);
-- what was sent within a day before there were buckets
INSERT INTO trip_bucket (scope, subject_id, taken)
    SELECT 'system', 0, array_agg(sent_at ORDER BY sent_at) FROM orders
    WHERE kind = 'relay' AND action = 'trip' AND sent_at > (SELECT max(sent_at) FROM orders) - interval '24 hours' HAVING count(*) > 0;
INSERT INTO trip_bucket (scope, subject_id, taken)
    SELECT 'area', r.area_id, array_agg(DISTINCT o.sent_at ORDER BY o.sent_at)
    FROM orders o JOIN installation i ON i.meter_id = o.meter_id AND i.valid_from <= o.sent_at AND i.valid_to > o.sent_at
    JOIN area_role r ON r.point_id = i.point_id AND r.valid_from <= o.sent_at AND r.valid_to > o.sent_at
    WHERE o.kind = 'relay' AND o.action = 'trip' AND o.sent_at > (SELECT max(sent_at) FROM orders) - interval '24 hours' GROUP BY r.area_id;

-- Exam days, heat and cold: nobody of that organisation, or of those below it, is tripped from first_day to last_day, nor on the eve.
CREATE TABLE no_trip (
    no_trip_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_day       date NOT NULL,
    last_day        date NOT NULL CHECK (last_day >= first_day),
    kind            text NOT NULL CHECK (kind IN ('exam', 'heat', 'cold', 'other')),
    organisation_id integer REFERENCES organisation,
    reason          text NOT NULL CHECK (reason <> ''),
    who             text NOT NULL CHECK (who <> ''),
    at              timestamptz NOT NULL,
    withdrawn_by    text,
    withdrawn_at    timestamptz,
    CHECK ((withdrawn_by IS NULL) = (withdrawn_at IS NULL))
);
COMMENT ON COLUMN no_trip.organisation_id IS 'NULL: everybody';
CREATE INDEX no_trip_by_day ON no_trip (last_day) WHERE withdrawn_at IS NULL;

-- Trips that were asked for together: a list, or whatever one requester asks for on one day.
CREATE TABLE trip_batch (
    batch_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           text NOT NULL UNIQUE,
    who           text NOT NULL,
    day           date NOT NULL,
    reason        text NOT NULL,
    at            timestamptz NOT NULL,
    asked         integer NOT NULL DEFAULT 0,
    released_by   text,
    released_size integer,
    released_why  text NOT NULL DEFAULT '',
    CHECK ((released_by IS NULL) = (released_size IS NULL))
);
COMMENT ON COLUMN trip_batch.asked IS 'trips of it that the gates let wait for approval: its size';
COMMENT ON COLUMN trip_batch.released_size IS 'a person has looked at the unusual size, up to this many';
CREATE INDEX trip_batch_by_who ON trip_batch (who, batch_id);
ALTER TABLE orders ADD FOREIGN KEY (batch_id) REFERENCES trip_batch;
CREATE INDEX orders_by_batch ON orders (batch_id) WHERE batch_id IS NOT NULL;

-- The audit: each record carries the hash of the one before it. SHA-256 over that hash and the bytes of
-- seq, kind, ref, microseconds since 1970 and body, with a line feed between each.
CREATE TABLE audit (
    seq      bigint PRIMARY KEY CHECK (seq > 0),
    kind     text NOT NULL,
    ref      text NOT NULL,
    body     text NOT NULL,
    recorded timestamptz NOT NULL,
    prev     bytea NOT NULL,
    hash     bytea NOT NULL
);
COMMENT ON TABLE audit IS 'append-only and chained; headend/store/audit.py verifies it. recorded: the server''s clock';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION audit_add(what text, which text, said jsonb) RETURNS void LANGUAGE plpgsql AS $fn$
DECLARE
    last bytea := decode(repeat('00', 32), 'hex');
    n    bigint := 0;
    now  timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit'));  -- kept until the end of the transaction: records stand in the order in which they commit
    SELECT a.seq, a.hash INTO n, last FROM audit a ORDER BY a.seq DESC LIMIT 1;
    n := coalesce(n, 0) + 1;
    last := coalesce(last, decode(repeat('00', 32), 'hex'));
    now := clock_timestamp();
    INSERT INTO audit (seq, kind, ref, body, recorded, prev, hash) VALUES (
        n, what, which, said::text, now, last,
        sha256(last || convert_to(concat_ws(E'\n', n, what, which, (extract(epoch FROM now) * 1000000)::bigint, said::text), 'UTF8')));
END
$fn$;

-- What a row says in the chain. Columns by name: one that is added later changes nothing of what was said.
CREATE FUNCTION audit_body(e order_event) RETURNS jsonb LANGUAGE sql STABLE SET timezone = 'UTC' AS $fn$
    SELECT jsonb_build_object('order', e.order_id, 'seq', e.seq, 'at', e.at, 'event', e.event, 'state', e.state, 'who', e.who,
                              'detail', e.detail, 'recorded', e.recorded)
        || CASE WHEN e.seq > 1 THEN '{}' ELSE (
            SELECT jsonb_build_object('kind', o.kind, 'action', o.action, 'meter', o.meter_id, 'requested_by', o.requested_by,
                                      'reason', o.reason, 'expires_at', o.expires_at, 'not_before', o.not_before)
            FROM orders o WHERE o.order_id = e.order_id) END
$fn$;
CREATE FUNCTION audit_body(n notice) RETURNS jsonb LANGUAGE sql STABLE SET timezone = 'UTC' AS $fn$
    SELECT jsonb_build_object('notice', n.notice_id, 'account', n.account_id, 'level', n.level, 'at', n.at, 'balance_fen', n.balance_fen,
                              'text_zh', n.text_zh, 'text_en', n.text_en)
$fn$;

-- Chained when the transaction commits: whoever waits for the chain holds nothing that others of it wait for, and waits for a commit alone.
CREATE FUNCTION chain_order_event() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM audit_add('order', NEW.order_id || '/' || NEW.seq, audit_body(NEW));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON order_event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_order_event();
CREATE FUNCTION chain_notice() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM audit_add('notice', NEW.notice_id::text, audit_body(NEW));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON notice DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_notice();
CREATE FUNCTION chain_limits() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM audit_add('limits', '', jsonb_build_object('was', OLD.limits, 'becomes', NEW.limits,
                                                       'who', coalesce(nullif(current_setting('headend.who', true), ''), session_user)));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain_limits AFTER UPDATE ON cluster DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.limits IS DISTINCT FROM NEW.limits) EXECUTE FUNCTION chain_limits();
CREATE FUNCTION chain_row() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $fn$
BEGIN
    PERFORM audit_add(TG_ARGV[0], coalesce(to_jsonb(NEW) ->> TG_ARGV[1], ''), to_jsonb(NEW));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain AFTER INSERT OR UPDATE ON trip_stop DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('stop', '');
CREATE CONSTRAINT TRIGGER chain AFTER INSERT OR UPDATE ON no_trip DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('no-trip', 'no_trip_id');
CREATE FUNCTION chain_release() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM audit_add('release', NEW.batch_id::text, jsonb_build_object('key', NEW.key, 'who', NEW.released_by, 'size', NEW.released_size, 'why', NEW.released_why));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain_release AFTER UPDATE ON trip_batch DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.released_size IS DISTINCT FROM NEW.released_size OR OLD.released_by IS DISTINCT FROM NEW.released_by) EXECUTE FUNCTION chain_release();

-- Nothing of it is thrown away: an exam day that is no more is withdrawn, with a name.
CREATE TRIGGER kept BEFORE DELETE ON no_trip FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept BEFORE DELETE ON trip_batch FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What was there before the chain is in its first record: how much, and the hash of all of it.
CREATE FUNCTION audit_before() RETURNS jsonb LANGUAGE sql STABLE SET timezone = 'UTC' AS $fn$
    WITH told AS (
        SELECT 'order' AS kind, audit_body(e)::text AS body, lpad(e.order_id::text, 20, '0') || lpad(e.seq::text, 10, '0') AS place FROM order_event e
        WHERE NOT EXISTS (SELECT FROM audit a WHERE a.kind = 'order' AND a.ref = e.order_id || '/' || e.seq)
        UNION ALL
        SELECT 'notice', audit_body(n)::text, lpad(n.notice_id::text, 20, '0') FROM notice n
        WHERE NOT EXISTS (SELECT FROM audit a WHERE a.kind = 'notice' AND a.ref = n.notice_id::text))
    SELECT jsonb_build_object('rows', count(*), 'sha256', encode(sha256(coalesce(string_agg(sha256(convert_to(body, 'UTF8')), ''::bytea
                              ORDER BY kind COLLATE "C", place COLLATE "C"), ''::bytea)), 'hex')) FROM told
$fn$;
CREATE INDEX audit_by_ref ON audit (kind, ref);
SELECT audit_add('begin', '', audit_before() || jsonb_build_object('limits', (SELECT limits FROM cluster)));

-- Whose customers a point's are: its own organisation, else its areas', else its terminal's; NULL: the archive does not say.
CREATE FUNCTION organisation_of(point integer, terminal integer, at timestamptz) RETURNS integer LANGUAGE sql STABLE AS $fn$
    SELECT coalesce(
        (SELECT s.organisation_id FROM point_span s WHERE s.point_id = point AND s.valid_from <= at AND s.valid_to > at),
        (SELECT min(s.organisation_id) FROM area_role r JOIN area_span s USING (area_id)
         WHERE r.point_id = point AND r.valid_from <= at AND r.valid_to > at AND s.valid_from <= at AND s.valid_to > at),
        (SELECT s.organisation_id FROM terminal_span s WHERE s.terminal_id = terminal AND s.valid_from <= at AND s.valid_to > at))
$fn$;
