-- A utility's own tariffs: the text as it was checked at the door, and every text that stood before it.

CREATE TABLE tariff (
    name     text NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    toml     text NOT NULL,
    sha256   bytea NOT NULL,
    changes_from date NOT NULL,
    reason   text NOT NULL,
    who      text NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (name, revision)
);
COMMENT ON TABLE tariff IS 'the newest revision of a name holds; one that comes with the program gives way to it';
COMMENT ON COLUMN tariff.changes_from IS 'the first local day whose money this revision may make another: days before are as they were';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON tariff FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
