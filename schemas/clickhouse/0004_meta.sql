-- What the store remembers about itself: key and value, the newest stays.
CREATE TABLE IF NOT EXISTS agentrail_meta
(
    key     String,
    value   String,
    updated DateTime64(9, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY key
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;

-- At every start the store inserts a row here twice under one token and
-- expects to find it once.
CREATE TABLE IF NOT EXISTS agentrail_probe
(
    key String
)
ENGINE = MergeTree
ORDER BY key
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 60;
