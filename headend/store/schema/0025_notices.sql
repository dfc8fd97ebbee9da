-- What became of a notice. The CRM sends it and tells here what it knows; a trip goes by this, and not by what was written.

CREATE TABLE notice_delivery (
    notice_id bigint NOT NULL REFERENCES notice,
    seq       integer NOT NULL CHECK (seq > 0),
    state     text NOT NULL CHECK (state IN ('sent', 'delivered', 'failed')),
    channel   text NOT NULL CHECK (channel IN ('sms', 'app', 'voice', 'letter', 'visit')),
    reference text NOT NULL CHECK (reference <> ''),
    at        timestamptz NOT NULL,
    who       text NOT NULL CHECK (who <> ''),
    recorded  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (notice_id, seq),
    UNIQUE (notice_id, channel, reference, state)
);
COMMENT ON TABLE notice_delivery IS 'evidence that a customer was told; append-only and in the audit';
COMMENT ON COLUMN notice_delivery.reference IS 'the gateway''s message id, the number of a receipt: what to ask for when it is disputed';
COMMENT ON COLUMN notice_delivery.at IS 'when it was sent, delivered or failed [domain time]; recorded is the server''s';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON notice_delivery FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE INDEX notice_by_time ON notice (at);

CREATE FUNCTION audit_body(d notice_delivery) RETURNS jsonb LANGUAGE sql STABLE SET timezone = 'UTC' AS $fn$
    SELECT jsonb_build_object('notice', d.notice_id, 'seq', d.seq, 'state', d.state, 'channel', d.channel, 'reference', d.reference,
                              'at', d.at, 'who', d.who, 'recorded', d.recorded)
$fn$;
CREATE FUNCTION chain_delivery() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM audit_add('delivery', NEW.notice_id || '/' || NEW.seq, audit_body(NEW));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON notice_delivery DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_delivery();

-- When a notice reached the customer; NULL: it did not. The limit `notice_counts` says what counts.
CREATE FUNCTION notice_reached(n notice) RETURNS timestamptz LANGUAGE sql STABLE AS $fn$
    SELECT CASE WHEN counts = 'written' THEN n.at ELSE (
        SELECT min(d.at) FROM notice_delivery d
        WHERE d.notice_id = n.notice_id AND (d.state = 'delivered' OR d.state = 'sent' AND counts = 'sent')) END
    FROM (SELECT coalesce(limits ->> 'notice_counts', 'delivered') AS counts FROM cluster) rule
$fn$;
-- When the customer was last told that supply will stop, since he last paid.
CREATE FUNCTION told_at(account integer) RETURNS timestamptz LANGUAGE sql STABLE AS $fn$
    SELECT max(notice_reached(n)) FROM notice n
    WHERE n.account_id = account AND n.level = 'stop'
      AND n.at > coalesce((SELECT max(p.paid_at) FROM payment p WHERE p.account_id = account), '-infinity')
$fn$;

-- Other files add topics of their own: what is allowed already stays so.
DO $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE feed DROP CONSTRAINT feed_topic_check, ADD CONSTRAINT feed_topic_check CHECK ((%s) OR topic = ''notice'')',
                           pg_get_expr(conbin, conrelid))
             FROM pg_constraint WHERE conname = 'feed_topic_check' AND conrelid = 'feed'::regclass);
END $$;

-- What no record tells of: with the reports, of which there were none before the chain.
CREATE OR REPLACE FUNCTION audit_before() RETURNS jsonb LANGUAGE sql STABLE SET timezone = 'UTC' AS $fn$
    WITH told AS (
        SELECT 'order' AS kind, audit_body(e)::text AS body, lpad(e.order_id::text, 20, '0') || lpad(e.seq::text, 10, '0') AS place FROM order_event e
        WHERE NOT EXISTS (SELECT FROM audit a WHERE a.kind = 'order' AND a.ref = e.order_id || '/' || e.seq)
        UNION ALL
        SELECT 'notice', audit_body(n)::text, lpad(n.notice_id::text, 20, '0') FROM notice n
        WHERE NOT EXISTS (SELECT FROM audit a WHERE a.kind = 'notice' AND a.ref = n.notice_id::text)
        UNION ALL
        SELECT 'delivery', audit_body(d)::text, lpad(d.notice_id::text, 20, '0') || lpad(d.seq::text, 10, '0') FROM notice_delivery d
        WHERE NOT EXISTS (SELECT FROM audit a WHERE a.kind = 'delivery' AND a.ref = d.notice_id || '/' || d.seq))
    SELECT jsonb_build_object('rows', count(*), 'sha256', encode(sha256(coalesce(string_agg(sha256(convert_to(body, 'UTF8')), ''::bytea
                              ORDER BY kind COLLATE "C", place COLLATE "C"), ''::bytea)), 'hex')) FROM told
$fn$;
