-- Whether, and since when, somebody would have heard of a terminal: a head-end that was away must not accuse those it did not listen to.

CREATE TABLE collector (
    owner text PRIMARY KEY,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
);
COMMENT ON TABLE collector IS 'collectors at work: since [domain time]; until, as with the leases it has, by server time';
