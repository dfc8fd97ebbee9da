-- What cuts a meter's supply off is the archive's to say where its own relay does not: control rounds (轮次) of its terminal, or a coil on its
-- line, which stood in a Modbus meter's address.

ALTER TABLE installation ADD COLUMN switch text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN installation.switch IS 'what cuts the supply off: {round 1,round 2} of the terminal, {coil 9:0} or {coil 9:0/trips} on the line; {}: the meter''s own relay';

UPDATE installation SET switch = ARRAY['coil ' || split_part(address, '+', 2)], address = split_part(address, '+', 1) WHERE address ~ '@.*[+]';
