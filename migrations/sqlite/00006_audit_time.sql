-- +goose Up

-- The audit log by time. Conventions as in 00001.

-- Entries are numbered nearly in the order of their time: a long transaction is numbered
-- after a later one, and the clocks of replicas differ. audit_high_us is the latest time
-- that was numbered, audit_lag_us the most by which a time stayed behind one that was
-- numbered before it. So a moment bounds the numbers, in every question that is asked.
ALTER TABLE sequencer ADD COLUMN audit_high_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sequencer ADD COLUMN audit_lag_us BIGINT NOT NULL DEFAULT 0;
UPDATE sequencer SET
  audit_high_us = (SELECT coalesce(max(at_us), 0) FROM audit WHERE seq IS NOT NULL),
  audit_lag_us = (SELECT coalesce(max(high_us - at_us), 0) FROM (SELECT at_us, max(at_us) OVER (ORDER BY seq) AS high_us FROM audit WHERE seq IS NOT NULL) AS numbered)
WHERE id = 1;
CREATE INDEX audit_time ON audit (at_us) WHERE seq IS NOT NULL;
