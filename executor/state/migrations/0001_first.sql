-- Times are nanoseconds since 1970 in UTC; 0 is "never".
CREATE TABLE agents (
    name             TEXT PRIMARY KEY,
    file             TEXT NOT NULL,
    version          TEXT NOT NULL,
    digest           TEXT NOT NULL,
    spec             TEXT NOT NULL,
    owner            TEXT NOT NULL,
    seen_at          INTEGER NOT NULL,
    published        TEXT NOT NULL DEFAULT '',
    published_digest TEXT NOT NULL DEFAULT '',
    published_spec   TEXT NOT NULL DEFAULT '',
    published_by     TEXT NOT NULL DEFAULT '',
    published_at     INTEGER NOT NULL DEFAULT 0,
    changes          TEXT NOT NULL DEFAULT '',
    audience         TEXT NOT NULL DEFAULT 'moderators',
    cohort           TEXT NOT NULL DEFAULT '[]'
) STRICT;

CREATE TABLE subscriptions (
    id         TEXT PRIMARY KEY,
    agent      TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    name       TEXT NOT NULL,
    trigger    BLOB,
    created    INTEGER NOT NULL,
    edited     INTEGER NOT NULL DEFAULT 0,
    last_run   INTEGER NOT NULL DEFAULT 0,
    next_run   INTEGER NOT NULL DEFAULT 0,
    deleted    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX subscriptions_agent ON subscriptions (agent) WHERE deleted = 0;

CREATE TABLE pauses (
    kind     TEXT NOT NULL,
    target   TEXT NOT NULL,
    response TEXT NOT NULL,
    reason   TEXT NOT NULL,
    author   TEXT NOT NULL,
    at       INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (kind, target, response)
) STRICT;

CREATE TABLE controls (event TEXT PRIMARY KEY, verb TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE cursor (only INTEGER PRIMARY KEY CHECK (only = 1), offset INTEGER NOT NULL, seen INTEGER NOT NULL) STRICT;

CREATE TABLE runs (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    agent        TEXT NOT NULL,
    version      TEXT NOT NULL,
    subscription TEXT NOT NULL,
    user         TEXT NOT NULL,
    mode         TEXT NOT NULL,
    initiator    TEXT NOT NULL,
    status       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    dry_run      INTEGER NOT NULL,
    trace        TEXT NOT NULL,
    key          TEXT NOT NULL,
    started      INTEGER NOT NULL,
    ended        INTEGER NOT NULL,
    output       TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_key ON runs (agent, subscription, key) WHERE key <> '';
CREATE INDEX runs_open ON runs (subscription) WHERE ended = 0;
CREATE INDEX runs_started ON runs (started);
CREATE INDEX runs_subscription ON runs (subscription, started);

CREATE TABLE calls (
    id           TEXT PRIMARY KEY,
    run          TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step         TEXT NOT NULL,
    tool         TEXT NOT NULL,
    access       TEXT NOT NULL,
    status       TEXT NOT NULL,
    problem      TEXT NOT NULL,
    verdict      BLOB,
    began        INTEGER NOT NULL,
    ended        INTEGER NOT NULL,
    scopes       TEXT NOT NULL,
    destinations BLOB
) STRICT;
CREATE INDEX calls_run ON calls (run, began);

CREATE TABLE confirmations (
    id               TEXT PRIMARY KEY,
    run              TEXT NOT NULL,
    call             TEXT NOT NULL,
    user             TEXT NOT NULL,
    tool             TEXT NOT NULL,
    arguments_sha256 TEXT NOT NULL,
    summary          TEXT NOT NULL,
    status           TEXT NOT NULL,
    answered_by      TEXT NOT NULL DEFAULT '',
    asked            INTEGER NOT NULL,
    expires          INTEGER NOT NULL,
    answered         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX confirmations_open ON confirmations (expires) WHERE status IN ('waiting', 'approved');

CREATE TABLE definitions (
    server      TEXT NOT NULL,
    tool        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    approved_by TEXT NOT NULL DEFAULT '',
    at          INTEGER NOT NULL,
    PRIMARY KEY (server, tool)
) STRICT;

CREATE TABLE seen (scope TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (scope, key)) STRICT;

CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL) STRICT;
