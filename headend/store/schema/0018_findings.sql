-- The life of a finding: one row from its first day to its last, the days it was seen on, and a log that only grows.

ALTER TABLE finding
    DROP CONSTRAINT finding_state_check,
    DROP CONSTRAINT finding_rule_subject_kind_subject_id_day_key,
    ADD CONSTRAINT finding_state_check CHECK (state IN ('new', 'recurred', 'acknowledged', 'work-order', 'closed', 'withdrawn')),
    ADD COLUMN first_day  date,
    ADD COLUMN days       integer NOT NULL DEFAULT 1 CHECK (days >= 0),
    ADD COLUMN work_order text NOT NULL DEFAULT '',
    ADD COLUMN again_of   bigint REFERENCES finding,
    ADD COLUMN closed_day date;
COMMENT ON COLUMN finding.day IS 'the newest day it was seen on; what is said of it is that day''s';
COMMENT ON COLUMN finding.days IS 'days it was seen on, withdrawn ones left out';
COMMENT ON COLUMN finding.state IS 'headend/control/finding_state.py';
COMMENT ON COLUMN finding.again_of IS 'recurred: the finding of the same rule and subject that was closed before';
COMMENT ON COLUMN finding.closed_day IS 'closed: what is seen of this day or an earlier one is no news';

CREATE TABLE finding_day (
    finding_id   bigint NOT NULL REFERENCES finding,
    day          date NOT NULL,
    rule_version integer NOT NULL,
    severity     text NOT NULL CHECK (severity IN ('info', 'warning', 'alarm')),
    title_en     text NOT NULL,
    title_zh     text NOT NULL,
    evidence     jsonb NOT NULL,
    withdrawn    boolean NOT NULL DEFAULT false,
    seen_at      timestamptz NOT NULL,
    PRIMARY KEY (finding_id, day)
);
CREATE INDEX finding_day_by_day ON finding_day (day);
COMMENT ON TABLE finding_day IS 'what a rule said of one day';

CREATE TABLE finding_event (
    event_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    finding_id bigint NOT NULL REFERENCES finding,
    at         timestamptz NOT NULL,
    who        text NOT NULL CHECK (who <> ''),
    act        text NOT NULL,
    state      text NOT NULL,
    why        text NOT NULL DEFAULT '',
    work_order text NOT NULL DEFAULT '',
    recorded   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX finding_event_by_finding ON finding_event (finding_id, event_id);
COMMENT ON TABLE finding_event IS 'who did what with a finding, when and why; `state` is the one after. at: domain time, recorded: the server''s';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON finding_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Until now every day had a row of its own. The newest of a rule and subject goes on; the earlier ones end where the next one began.
UPDATE finding SET first_day = day;
ALTER TABLE finding ALTER COLUMN first_day SET NOT NULL;
INSERT INTO finding_day (finding_id, day, rule_version, severity, title_en, title_zh, evidence, withdrawn, seen_at)
    SELECT finding_id, day, rule_version, severity, title_en, title_zh, evidence, state = 'withdrawn', last_seen FROM finding;
UPDATE finding f SET days = 0 WHERE state = 'withdrawn';
UPDATE finding f SET state = 'closed', closed_day = f.day WHERE state IN ('new', 'acknowledged') AND EXISTS (
    SELECT FROM finding n WHERE (n.rule, n.subject_kind, n.subject_id) = (f.rule, f.subject_kind, f.subject_id)
    AND n.day > f.day AND n.state IN ('new', 'acknowledged'));
INSERT INTO finding_event (finding_id, at, who, act, state, why)
    SELECT finding_id, last_seen, 'headend', 'import', state, 'as it was before findings had a log' ||
        CASE WHEN who <> '' THEN '; last touched by ' || who ELSE '' END FROM finding ORDER BY finding_id;

CREATE UNIQUE INDEX one_open_finding ON finding (rule, subject_kind, subject_id)
    WHERE state IN ('new', 'recurred', 'acknowledged', 'work-order');
CREATE INDEX finding_by_subject ON finding (rule, subject_kind, subject_id, finding_id);

-- When each terminal came (back), the newest 200: a row a terminal, it never grows. Written where the archive is told that it is there.
CREATE TABLE terminal_login (
    terminal_id integer PRIMARY KEY REFERENCES terminal,
    ats         timestamptz[] NOT NULL CHECK (cardinality(ats) <= 200)
);
COMMENT ON COLUMN terminal_login.ats IS 'domain time, oldest first';

ALTER TABLE point
    ADD COLUMN feeds_in boolean NOT NULL DEFAULT false,
    ADD COLUMN checks   text NOT NULL DEFAULT '' CHECK (checks <> code);
COMMENT ON COLUMN point.feeds_in IS 'there is a contract to feed in (上网): energy that flows back is no finding';
COMMENT ON COLUMN point.checks IS 'the code of the metering point whose main meter (主表) the one here checks (副表)';

-- Events are asked for by when they were told; they come in about that order.
CREATE INDEX event_by_received ON event USING brin (received);
