-- What the record of a step says beside: the rule and the entity of the alert,
-- the adapter, who took the step, what happened, and when the action ends.
ALTER TABLE responses
    ADD COLUMN IF NOT EXISTS rule   LowCardinality(String) AFTER alert,
    ADD COLUMN IF NOT EXISTS entity String AFTER rule,
    ADD COLUMN IF NOT EXISTS via    LowCardinality(String) AFTER mode,
    ADD COLUMN IF NOT EXISTS actor  String AFTER reason,
    ADD COLUMN IF NOT EXISTS text   String AFTER actor,
    ADD COLUMN IF NOT EXISTS until  DateTime64(9, 'UTC') AFTER text;
