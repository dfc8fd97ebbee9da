-- Which protocols there are is for the import and the drivers to say: it refuses others with their line, and a new driver needs no migration.
-- What a terminal calls itself when it dials in is, in the protocols that address it, its address: then who dials it needs it too.
ALTER TABLE terminal
    DROP CONSTRAINT terminal_protocol_check,
    DROP CONSTRAINT terminal_check1,
    ADD CHECK (protocol <> ''),
    ADD CONSTRAINT terminal_login_check CHECK (link <> 'dial-in' OR login IS NOT NULL);
COMMENT ON COLUMN terminal.login IS 'what it calls itself when it dials in; where its protocol addresses the terminal (Q/GDW 376.1: A1 A2, eight hex digits) that '
    'address, whoever dials';
