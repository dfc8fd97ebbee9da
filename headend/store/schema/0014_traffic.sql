-- What goes over the air, and how far a collector is with what it owes.

CREATE TABLE traffic (
    sim_id integer NOT NULL REFERENCES sim,
    month  date NOT NULL CHECK (extract(day FROM month) = 1),
    bytes  bigint NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (sim_id, month)
);
COMMENT ON TABLE traffic IS 'bytes that passed for a SIM in a local month, headers estimated; added up by whoever serves its terminal, so a crash loses a minute''s';

ALTER TABLE terminal ADD COLUMN owes integer NOT NULL DEFAULT 0, ADD COLUMN through_at timestamptz;
COMMENT ON COLUMN terminal.owes IS 'questions that its collector still had to ask when it looked last';
COMMENT ON COLUMN terminal.through_at IS 'when its collector expects to have asked them, by the pace of the line; null where it has none to ask';
