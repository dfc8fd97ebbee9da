-- Who dials in and is not served: a terminal that nobody has put into the archive, or one that speaks otherwise than the archive says.

CREATE TABLE caller (
    identity   text PRIMARY KEY,
    kind       text NOT NULL,
    why        text NOT NULL,
    peer       text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    attempts   bigint NOT NULL,
    collector  text NOT NULL
);
CREATE INDEX caller_by_time ON caller (last_seen);
COMMENT ON COLUMN caller.identity IS 'what it says it is; ? and its first bytes in hex where that is nothing known, ?silent and its host where it is nothing';
COMMENT ON COLUMN caller.attempts IS 'at the collector that heard of it last, since that one was started';
