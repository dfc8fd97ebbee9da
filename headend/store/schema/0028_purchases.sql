-- Fee control (费控) that the meter or the terminal executes: payments become purchases (充值) that are carried to the meter's wallet once, and
-- what wallets and cards hold is kept beside the ledger, never instead of it.

ALTER TABLE account ADD COLUMN fee_control text NOT NULL DEFAULT 'master' CHECK (fee_control IN ('master', 'meter', 'terminal', 'card'));
COMMENT ON COLUMN account.fee_control IS 'who counts the money down and cuts off: master (us), meter (本地费控), terminal, or a meter whose card holds kWh (卡表)';

CREATE TABLE purchase (
    purchase_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   integer NOT NULL REFERENCES account,
    entry_id     bigint NOT NULL UNIQUE REFERENCES ledger_entry,
    amount_fen   bigint NOT NULL CHECK (amount_fen > 0),
    at           timestamptz NOT NULL,
    retry_after  bigint REFERENCES orders,
    settled_at   timestamptz,
    settled_by   text,
    settled_why  text NOT NULL DEFAULT '',
    CHECK ((settled_at IS NULL) = (settled_by IS NULL))
);
CREATE INDEX purchase_by_account ON purchase (account_id, purchase_id);
COMMENT ON TABLE purchase IS 'a payment that belongs into a wallet; whether it is there is said by its orders alone, or by a person (settled_*)';
COMMENT ON COLUMN purchase.retry_after IS 'the meter refused this order, and a person said: again';
COMMENT ON COLUMN purchase.settled_by IS 'who has seen that it is in the wallet, by whatever way it came there';

ALTER TABLE orders ADD COLUMN purchase_id bigint REFERENCES purchase;
COMMENT ON COLUMN orders.purchase_id IS 'the purchase that it carries, or takes back';
CREATE INDEX orders_by_purchase ON orders (purchase_id, order_id) WHERE purchase_id IS NOT NULL;
-- one at a time into one wallet, one order at a time of one purchase, and it arrives once
CREATE UNIQUE INDEX one_open_purchase_order ON orders (meter_id) WHERE kind = 'purchase' AND action <> 'read' AND is_open;
CREATE UNIQUE INDEX one_open_terminal_purchase ON orders (terminal_id) WHERE kind = 'control' AND purchase_id IS NOT NULL AND is_open;
CREATE UNIQUE INDEX one_open_order_of_purchase ON orders (purchase_id) WHERE is_open;
CREATE UNIQUE INDEX purchase_arrives_once ON orders (purchase_id) WHERE action <> 'refund' AND state = 'verified';
CREATE UNIQUE INDEX purchase_refunded_once ON orders (purchase_id) WHERE action = 'refund' AND state = 'verified';

-- Other files add kinds of their own: what is allowed already stays so.
DO $$
DECLARE
    what record;
BEGIN
    FOR what IN SELECT * FROM (VALUES
        ('orders_kind_check', 'CHECK ((%s) OR kind = ''purchase'')'),
        ('orders_of_check', 'CHECK (CASE WHEN kind = ''purchase'' THEN meter_id IS NOT NULL ELSE (%s) END)')) AS v (name, becomes)
    LOOP
        EXECUTE (SELECT format('ALTER TABLE orders DROP CONSTRAINT %I, ADD CONSTRAINT %I ', what.name, what.name)
                        || format(what.becomes, pg_get_expr(conbin, conrelid))
                 FROM pg_constraint WHERE conname = what.name AND conrelid = 'orders'::regclass);
    END LOOP;
END $$;

-- A wallet that was in use before we knew of it, or that something was put into past us: from where its purchases are counted on.
CREATE TABLE wallet_start (
    wallet_start_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id   integer NOT NULL REFERENCES meter,
    account_id integer NOT NULL REFERENCES account,
    count      integer NOT NULL CHECK (count >= 0),
    at         timestamptz NOT NULL,
    who        text NOT NULL,
    why        text NOT NULL
);
CREATE INDEX wallet_start_by_meter ON wallet_start (meter_id, wallet_start_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON wallet_start FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER chain AFTER INSERT ON wallet_start DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_row('wallet', 'meter_id');

SELECT make_partitioned('wallet_reading', '
    meter_id      integer NOT NULL,
    at            timestamptz NOT NULL,
    remaining_fen bigint NOT NULL CHECK (remaining_fen >= 0),
    overdrawn_fen bigint NOT NULL CHECK (overdrawn_fen >= 0),
    count         integer NOT NULL,
    registers     bigint[],
    is_open       boolean,
    settings      jsonb NOT NULL DEFAULT ''{}'',
    PRIMARY KEY (at, meter_id)', 'at', '28 days');
CREATE INDEX wallet_reading_by_meter ON wallet_reading (meter_id, at);
COMMENT ON TABLE wallet_reading IS 'what a wallet said of itself: the meter''s word, compared with the ledger and never put in its place';
COMMENT ON COLUMN wallet_reading.registers IS '1e-4 kWh: total, T1 to T4, read in the same conversation; NULL: not read';
COMMENT ON COLUMN wallet_reading.settings IS 'fen by name: alarm1, alarm2, overdraft, hoarding, permit';

-- A meter that holds kWh bought by card (卡表): what was bought and what was settled. The image is the fold of these; nothing is cut off by it.
CREATE TABLE card_event (
    card_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    kind       text NOT NULL CHECK (kind IN ('open', 'buy', 'settle', 'reprice')),
    at         timestamptz NOT NULL,
    register   bigint,
    energy     bigint,
    amount_fen bigint,
    price      bigint,
    entry_id   bigint UNIQUE REFERENCES ledger_entry,
    who        text NOT NULL,
    CHECK (CASE kind WHEN 'buy' THEN num_nonnulls(amount_fen, price) = 2 ELSE register IS NOT NULL END)
);
CREATE INDEX card_event_by_account ON card_event (account_id, card_event_id);
COMMENT ON COLUMN card_event.register IS '1e-4 kWh, as the meter shows it';
COMMENT ON COLUMN card_event.price IS '1e-4 yuan per kWh';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON card_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE cluster ADD COLUMN wallet_rules jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN cluster.wallet_rules IS 'what the utility decided about wallets, where it differs from tariffs/wallet.py';
