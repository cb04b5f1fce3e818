-- When the journal took the span: what the time to live counts from.
ALTER TABLE otel_traces ADD COLUMN IF NOT EXISTS Received DateTime64(9) DEFAULT now64(9) CODEC(Delta, ZSTD(1));

-- From when to when a trace lasts, by the name and columns that dashboards for
-- the Collector's exporter look it up with. There it is a table that a
-- materialised view fills; a view cannot count a repeated insert twice.
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts AS
SELECT Tenant, TraceId, toDateTime(min(Timestamp)) AS Start, toDateTime(max(Timestamp)) AS End
FROM otel_traces
GROUP BY Tenant, TraceId;
