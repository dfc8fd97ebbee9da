-- Terminals with an address of their own, terminals that publish, meters that remember nothing.

-- Which protocols there are is for the import and the drivers to say: it refuses others with their line, and a new driver needs no migration.
ALTER TABLE terminal
    DROP CONSTRAINT terminal_protocol_check, DROP CONSTRAINT terminal_link_check,
    DROP CONSTRAINT terminal_check, DROP CONSTRAINT terminal_check1;
ALTER TABLE terminal
    ADD CHECK (protocol <> ''),
    ADD CHECK (link IN ('dial-out', 'dial-in', 'serial', 'mqtt')),
    ADD CONSTRAINT terminal_endpoint_check CHECK ((link IN ('dial-in', 'mqtt')) = (endpoint IS NULL)),
    ADD CONSTRAINT terminal_login_check CHECK (link NOT IN ('dial-in', 'mqtt') OR login IS NOT NULL);
COMMENT ON COLUMN terminal.login IS 'what it calls itself when it dials in, or in the topic when it publishes; where its protocol addresses the '
    'terminal (Q/GDW 376.1: A1 A2, eight hex digits; DL/T 698.45: its address) that address, whoever dials';

CREATE TABLE duty (
    duty  text PRIMARY KEY,
    owner text NOT NULL,
    until timestamptz NOT NULL
);
COMMENT ON TABLE duty IS 'what one collector does for all (the subscription at the broker); server time';

-- Bounded by store/refused.py: what anybody can publish must not fill a disk.
CREATE TABLE refused_message (
    topic    text PRIMARY KEY,
    reason   text NOT NULL,
    count    bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    sample   bytea NOT NULL
);
COMMENT ON TABLE refused_message IS 'published messages that were kept out: by topic how often, and the newest reason with the beginning of that message';
