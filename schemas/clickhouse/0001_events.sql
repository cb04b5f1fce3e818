-- Every event that counts, one row each. part is the month of the event's
-- time (YYYYMM) where that is believable, else 0: a record dated 1970 or 2262
-- makes no partition of its own. digest is in the sorting key so that two
-- records of one id with different bytes both stay.
CREATE TABLE IF NOT EXISTS events
(
    tenant        LowCardinality(String),
    kind          LowCardinality(String),
    time          DateTime64(9, 'UTC') CODEC(DoubleDelta, LZ4),
    id            FixedString(16) CODEC(NONE),
    digest        FixedString(32) CODEC(NONE),
    part          UInt32 CODEC(T64, LZ4),
    received      DateTime64(9, 'UTC') CODEC(DoubleDelta, LZ4),
    shard         UInt16 CODEC(T64, LZ4),
    `offset`      UInt64 CODEC(T64, LZ4),
    `index`       UInt32 CODEC(T64, LZ4),
    class         Enum8('' = 0, 'activity' = 1, 'alert' = 2, 'control' = 3, 'evidence' = 4, 'health' = 5),
    flags         UInt32 CODEC(T64, LZ4),
    backfill      Bool,
    source        LowCardinality(String),
    initiator     Enum8('unknown' = 0, 'human' = 1, 'schedule' = 2, 'content' = 3, 'api' = 4),
    access        Enum8('unknown' = 0, 'read' = 1, 'write' = 2, 'admin' = 3),
    outcome       Enum8('unknown' = 0, 'ok' = 1, 'denied' = 2, 'error' = 3, 'cancelled' = 4),
    autonomous    Enum8('unknown' = 0, 'yes' = 1, 'no' = 2),
    status        Int32 CODEC(T64, LZ4),
    duration      Int64 CODEC(T64, LZ4),
    action        LowCardinality(String),
    endpoint      String,
    method        LowCardinality(String),
    tool          LowCardinality(String),
    target        String,
    actor         String,
    actor_email   String,
    actor_type    LowCardinality(String),
    department    LowCardinality(String),
    agent         String,
    name          String,
    owner         String,
    subscription  String,
    run           String,
    session       String,
    trace         String,
    span          String,
    outcome_text  LowCardinality(String),
    reason        String,
    ip            String,
    user_agent    LowCardinality(String),
    source_id     String,
    source_action LowCardinality(String),
    INDEX run_bloom run TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX trace_bloom trace TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX actor_bloom actor TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX actor_email_bloom actor_email TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX agent_bloom agent TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY part
PRIMARY KEY (tenant, kind, time)
ORDER BY (tenant, kind, time, id, digest)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;

-- The records as received, apart from the events: with their own codec, their
-- own time to live and, on a server, their own grants.
CREATE TABLE IF NOT EXISTS raw
(
    tenant   LowCardinality(String),
    kind     LowCardinality(String),
    time     DateTime64(9, 'UTC') CODEC(DoubleDelta, LZ4),
    id       FixedString(16) CODEC(NONE),
    digest   FixedString(32) CODEC(NONE),
    part     UInt32 CODEC(T64, LZ4),
    received DateTime64(9, 'UTC') CODEC(DoubleDelta, LZ4),
    content  String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY part
PRIMARY KEY (tenant, kind, time)
ORDER BY (tenant, kind, time, id, digest)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;

-- Counts for pages and dashboards, fed by the inserter under tokens of their
-- own, so that a crash and its repeat count once.
CREATE TABLE IF NOT EXISTS events_per_hour
(
    tenant    LowCardinality(String),
    hour      DateTime('UTC') CODEC(DoubleDelta, LZ4),
    kind      LowCardinality(String),
    action    LowCardinality(String),
    agent     String,
    outcome   Enum8('unknown' = 0, 'ok' = 1, 'denied' = 2, 'error' = 3, 'cancelled' = 4),
    access    Enum8('unknown' = 0, 'read' = 1, 'write' = 2, 'admin' = 3),
    initiator Enum8('unknown' = 0, 'human' = 1, 'schedule' = 2, 'content' = 3, 'api' = 4),
    part      UInt32 CODEC(T64, LZ4),
    count     UInt64 CODEC(T64, LZ4)
)
ENGINE = SummingMergeTree(count)
PARTITION BY part
ORDER BY (tenant, hour, kind, action, agent, outcome, access, initiator)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;
