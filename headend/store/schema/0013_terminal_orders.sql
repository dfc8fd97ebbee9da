-- Orders of a terminal itself: its clock, its communication parameters, its archive of meters, its tasks.

ALTER TABLE orders ALTER COLUMN meter_id DROP NOT NULL;
ALTER TABLE orders DROP CONSTRAINT orders_kind_check;
ALTER TABLE orders
    ADD CONSTRAINT orders_kind_check CHECK (kind IN ('read', 'clock', 'relay', 'parameters', 'archive', 'tasks')),
    -- a relay is a meter's: an order for one that names no meter cannot be written down
    ADD CONSTRAINT orders_of_check CHECK (CASE WHEN kind IN ('read', 'relay') THEN meter_id IS NOT NULL
                                               WHEN kind = 'clock' THEN true ELSE meter_id IS NULL END),
    ADD COLUMN request  jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN adds     integer NOT NULL DEFAULT 0 CHECK (adds >= 0),
    ADD COLUMN replaces integer NOT NULL DEFAULT 0 CHECK (replaces >= 0);
COMMENT ON COLUMN orders.meter_id IS 'NULL: the order is of the terminal itself';
COMMENT ON COLUMN orders.request IS 'what is to be written, as it was approved';
COMMENT ON COLUMN orders.adds IS 'entries of a terminal that the order makes where there was none; counted against the cap';
COMMENT ON COLUMN orders.replaces IS 'entries of a terminal that the order overwrites or erases; counted against the cap';

-- two writes to one terminal would each be compared with what the other one changes
CREATE UNIQUE INDEX one_open_write ON orders (terminal_id) WHERE meter_id IS NULL AND action = 'write' AND is_open;
CREATE INDEX orders_by_terminal ON orders (terminal_id, order_id) WHERE meter_id IS NULL;
