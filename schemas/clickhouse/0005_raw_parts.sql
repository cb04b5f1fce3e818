-- A new part of raw holds one insert of some 13 MB: in one file as long as it
-- is that small, it needs 8 files to be made and synced instead of 27.
ALTER TABLE raw MODIFY SETTING min_bytes_for_wide_part = 33554432;
