-- What answers alerts: responses, and what happened to each.
CREATE TABLE responses (
    id    TEXT PRIMARY KEY,
    asked INTEGER NOT NULL,
    open  INTEGER NOT NULL,
    alert TEXT NOT NULL,
    body  BLOB NOT NULL -- JSON
) STRICT;
CREATE INDEX responses_asked ON responses (asked);
CREATE INDEX responses_open ON responses (asked) WHERE open;
CREATE INDEX responses_alert ON responses (alert) WHERE alert <> '';

CREATE TABLE response_events (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    response TEXT NOT NULL REFERENCES responses (id),
    seq      INTEGER NOT NULL,
    body     BLOB NOT NULL, -- JSON
    record   BLOB,          -- that waits to be recorded; null once it is
    UNIQUE (response, seq)
) STRICT;
CREATE INDEX response_events_waiting ON response_events (number) WHERE record IS NOT NULL;
