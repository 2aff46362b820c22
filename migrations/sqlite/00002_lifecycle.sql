-- +goose Up

-- The life of what is signed: rotation, ledger, scheduled revocations, the signing
-- switch. Conventions as in 00001.

-- The key that signed the newest JWT, and since when a new signature is owed (a
-- key was rotated, a shared template changed); 0 owes none.
ALTER TABLE accounts ADD COLUMN signer TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN resign_us BIGINT NOT NULL DEFAULT 0;
UPDATE accounts SET signer = coalesce((SELECT j.signer FROM jwts j WHERE j.subject = accounts.id AND j.jwt_version = accounts.jwt_version), '');
CREATE INDEX accounts_resign ON accounts (operator_id, id) WHERE resign_us <> 0;
CREATE INDEX accounts_signer ON accounts (operator_id, signer);

-- signing is the switch; policy is what the operator asks of what is issued.
ALTER TABLE operators ADD COLUMN signing BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE operators ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';

-- Suspension is a state that the signed limits follow; the limits themselves stay.
ALTER TABLE accounts DROP COLUMN held_limits;

-- Who switched signing off, and why, is shown on every page.
CREATE INDEX audit_operators ON audit (target, at_us) WHERE target_kind = 'operator';

-- The data key of the keyset that sealed the seed, and when the key became what it
-- is: its state counts from then.
ALTER TABLE keys ADD COLUMN data_key BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN state_us BIGINT NOT NULL DEFAULT 0;
UPDATE keys SET state_us = created_us;
CREATE INDEX keys_retire ON keys (retire_at_us) WHERE retire_at_us <> 0;
CREATE INDEX keys_template ON keys (template_id) WHERE template_id <> '';
CREATE INDEX users_template ON users (template_id, id) WHERE template_id IS NOT NULL;

-- occasion is why it was issued (issue, renew, roll), template_id what it was
-- issued with.
ALTER TABLE credentials ADD COLUMN occasion TEXT NOT NULL DEFAULT 'issue';
ALTER TABLE credentials ADD COLUMN template_id TEXT NOT NULL DEFAULT '';
UPDATE credentials SET template_id = coalesce((SELECT u.template_id FROM users u WHERE u.id = credentials.user_id), '');
CREATE INDEX credentials_signer ON credentials (account_id, signer, expires_s);
CREATE INDEX credentials_template ON credentials (account_id, template_id, expires_s);
CREATE INDEX credentials_account ON credentials (account_id, id);

-- cause is what the revocation belongs to (a key, a template, a disabled user),
-- removal how it left: compacted, or lifted by removed_by.
ALTER TABLE revocations ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE revocations ADD COLUMN removal TEXT NOT NULL DEFAULT '';
ALTER TABLE revocations ADD COLUMN removed_by TEXT NOT NULL DEFAULT '';
CREATE INDEX revocations_effective ON revocations (account_id, subject, before_s) WHERE removed_us = 0;

-- Revocations that were decided and are not due yet: the old key of a roll.
CREATE TABLE scheduled_revocations (
  id         TEXT   NOT NULL PRIMARY KEY,
  account_id TEXT   NOT NULL REFERENCES accounts (id),
  subject    TEXT   NOT NULL,
  before_s   BIGINT NOT NULL,
  due_us     BIGINT NOT NULL,
  reason     TEXT   NOT NULL DEFAULT '',
  actor      TEXT   NOT NULL,
  request_id TEXT   NOT NULL,
  created_us BIGINT NOT NULL
);
CREATE INDEX scheduled_revocations_due ON scheduled_revocations (due_us);

-- What a link stands for besides a person: the credential that is made when the
-- link is used. It holds no secret.
ALTER TABLE links ADD COLUMN body TEXT NOT NULL DEFAULT '';
ALTER TABLE links ADD COLUMN created_by TEXT NOT NULL DEFAULT '';

-- What was answered to a request with an Idempotency-Key, without its secrets.
CREATE TABLE replays (
  caller      TEXT   NOT NULL,
  key         TEXT   NOT NULL,
  fingerprint BLOB   NOT NULL,
  answer      TEXT   NOT NULL,
  created_us  BIGINT NOT NULL,
  PRIMARY KEY (caller, key)
);
CREATE INDEX replays_age ON replays (created_us);
