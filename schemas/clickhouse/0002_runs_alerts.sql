-- One row per run, from its workflow_run records; the newest one stays.
CREATE TABLE IF NOT EXISTS runs
(
    tenant       LowCardinality(String),
    run          String,
    part         UInt32,
    time         DateTime64(9, 'UTC'),
    id           FixedString(16),
    received     DateTime64(9, 'UTC'),
    shard        UInt16,
    `offset`     UInt64,
    `index`      UInt32,
    version      Int64,
    agent        String,
    name         String,
    actor        String,
    actor_email  String,
    owner        String,
    subscription String,
    session      String,
    trace        String,
    initiator    Enum8('unknown' = 0, 'human' = 1, 'schedule' = 2, 'content' = 3, 'api' = 4),
    outcome      Enum8('unknown' = 0, 'ok' = 1, 'denied' = 2, 'error' = 3, 'cancelled' = 4),
    outcome_text LowCardinality(String),
    reason       String,
    status       Int32,
    duration     Int64,
    backfill     Bool
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY part
ORDER BY (tenant, run)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;

-- Every transition of every alert. document is the whole alert as JSON.
CREATE TABLE IF NOT EXISTS alerts
(
    tenant       LowCardinality(String),
    id           String,
    seq          UInt32,
    transition   LowCardinality(String),
    rule         LowCardinality(String),
    title        String,
    severity     LowCardinality(String),
    confidence   LowCardinality(String),
    entity_kind  LowCardinality(String),
    entity_id    String,
    entity_name  String,
    actor        String,
    actor_email  String,
    on_behalf_of String,
    agent        String,
    agent_name   String,
    subscription String,
    run          String,
    initiator    LowCardinality(String),
    first_seen   DateTime64(9, 'UTC'),
    last_seen    DateTime64(9, 'UTC'),
    decided_at   DateTime64(9, 'UTC'),
    count        Int64,
    observed     Float64,
    usual        Nullable(Float64),
    threshold    Float64,
    window       Int64,
    reason       String,
    tags         Array(LowCardinality(String)),
    backfill     Bool,
    stale        Bool,
    late         Bool,
    received     DateTime64(9, 'UTC'),
    shard        UInt16,
    `offset`     UInt64,
    `index`      UInt32,
    document     String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, id, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;

-- The newest transition of each alert.
CREATE VIEW IF NOT EXISTS alerts_latest AS
SELECT
    tenant,
    id,
    max(a.seq) AS last_seq,
    argMax(a.transition, a.seq) AS transition,
    argMax(a.transition, a.seq) != 'resolve' AS open,
    argMax(a.rule, a.seq) AS rule,
    argMax(a.title, a.seq) AS title,
    argMax(a.severity, a.seq) AS severity,
    argMax(a.confidence, a.seq) AS confidence,
    argMax(a.entity_kind, a.seq) AS entity_kind,
    argMax(a.entity_id, a.seq) AS entity_id,
    argMax(a.entity_name, a.seq) AS entity_name,
    argMax(a.actor_email, a.seq) AS actor_email,
    argMax(a.agent, a.seq) AS agent,
    argMax(a.agent_name, a.seq) AS agent_name,
    argMax(a.initiator, a.seq) AS initiator,
    min(a.first_seen) AS first_seen,
    argMax(a.last_seen, a.seq) AS last_seen,
    argMax(a.decided_at, a.seq) AS decided_at,
    argMax(a.count, a.seq) AS count,
    argMax(a.reason, a.seq) AS reason,
    argMax(a.backfill, a.seq) AS backfill,
    argMax(a.stale, a.seq) AS stale
FROM alerts AS a
GROUP BY a.tenant, a.id;

-- What was done about alerts, one row per step.
CREATE TABLE IF NOT EXISTS responses
(
    tenant   LowCardinality(String),
    id       String,
    seq      UInt32,
    alert    String,
    policy   LowCardinality(String),
    action   LowCardinality(String),
    mode     LowCardinality(String),
    status   LowCardinality(String),
    target   String,
    author   String,
    reason   String,
    time     DateTime64(9, 'UTC'),
    received DateTime64(9, 'UTC'),
    shard    UInt16,
    `offset` UInt64,
    `index`  UInt32,
    document String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, id, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;
