-- Spans without what they carry: attributes, events and messages may hold
-- prompts and arguments. Names and times are for everybody who sees runs.
CREATE VIEW IF NOT EXISTS spans AS
SELECT Tenant, Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, Duration, StatusCode, Received
FROM otel_traces;
