-- Hours and prices in meters: orders that write a meter's spare set, and campaigns that do so for many.

-- Other files add kinds of their own: what is allowed already stays so.
DO $$
DECLARE
    what record;
BEGIN
    FOR what IN SELECT * FROM (VALUES
        ('orders_kind_check', 'CHECK ((%s) OR kind = ''prices'')'),
        ('orders_of_check', 'CHECK (CASE WHEN kind = ''prices'' THEN meter_id IS NOT NULL ELSE (%s) END)')) AS v (name, becomes)
    LOOP
        EXECUTE (SELECT format('ALTER TABLE orders DROP CONSTRAINT %I, ADD CONSTRAINT %I ', what.name, what.name)
                        || format(what.becomes, pg_get_expr(conbin, conrelid))
                 FROM pg_constraint WHERE conname = what.name AND conrelid = 'orders'::regclass);
    END LOOP;
END $$;

-- two writes to one meter would each be compared with what the other one changes
CREATE UNIQUE INDEX one_open_price_write ON orders (meter_id) WHERE kind = 'prices' AND action = 'write' AND is_open;
-- the newest of what was read of each meter
CREATE INDEX orders_prices ON orders (meter_id, order_id) WHERE kind = 'prices';

CREATE TABLE price_campaign (
    campaign_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tariff       text NOT NULL,
    organisation integer REFERENCES organisation,
    switch_at    date NOT NULL,
    reason       text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    per_hour     integer NOT NULL CHECK (per_hour > 0),
    stop_after   integer NOT NULL CHECK (stop_after > 0),
    forgiven     integer NOT NULL DEFAULT 0,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'stopped', 'ended')),
    why          text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN price_campaign.switch_at IS 'local day at whose beginning the spare sets come into force';
COMMENT ON COLUMN price_campaign.stop_after IS 'so many writes that failed stop the campaign; before as many have succeeded no more are under way at once';
COMMENT ON COLUMN price_campaign.forgiven IS 'failures that somebody has looked at since, and gone on';

CREATE TABLE price_campaign_meter (
    campaign_id bigint NOT NULL REFERENCES price_campaign,
    meter_id    integer NOT NULL REFERENCES meter,
    state       text NOT NULL CHECK (state IN ('listed', 'reading', 'ready', 'approved', 'writing', 'done', 'same', 'failed', 'unreached')),
    why         text NOT NULL DEFAULT '',
    request     jsonb NOT NULL DEFAULT '{}',
    approved_by text,
    approved_at timestamptz,
    read_order  bigint REFERENCES orders,
    write_order bigint REFERENCES orders,
    PRIMARY KEY (campaign_id, meter_id)
);
CREATE INDEX price_campaign_open ON price_campaign_meter (campaign_id, state, meter_id);
COMMENT ON COLUMN price_campaign_meter.request IS 'what would be written and what stands there, as its order will have it';

-- who began, approved and stopped them stands in the audit like any other approval
CREATE CONSTRAINT TRIGGER chain AFTER INSERT OR UPDATE ON price_campaign DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION chain_row('campaign', 'campaign_id');
