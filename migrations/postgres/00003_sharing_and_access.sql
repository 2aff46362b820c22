-- +goose Up

-- Sharing between accounts, adoption from elsewhere, and who may do what. Conventions
-- as in 00001.

-- lifetime_s makes each JWT of the account end that long after its signing; it is
-- renewed at half of it. guardrails is what the operator asks of this account beyond
-- its own policy. verbatim tells that the newest JWT was signed elsewhere and is
-- served as it came; unknown is what of it nats-io/jwt has no words for.
ALTER TABLE accounts ADD COLUMN lifetime_s BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN renew_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN guardrails TEXT NOT NULL DEFAULT '{}';
ALTER TABLE accounts ADD COLUMN verbatim BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE accounts ADD COLUMN unknown TEXT NOT NULL DEFAULT '';
CREATE INDEX accounts_renew ON accounts (renew_us) WHERE renew_us <> 0;
ALTER TABLE operators ADD COLUMN verbatim BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE operators ADD COLUMN unknown TEXT NOT NULL DEFAULT '';

-- What an account exports and imports: body is the export or import of the JWT. The
-- exporter of an import may be an account nobody here knows. A deleted export keeps
-- what was revoked in it, for the day on which the same subject is exported again.
CREATE TABLE exports (
  id         TEXT   NOT NULL PRIMARY KEY,
  account_id TEXT   NOT NULL REFERENCES accounts (id),
  kind       TEXT   NOT NULL,
  subject    TEXT   NOT NULL,
  body       TEXT   NOT NULL,
  version    BIGINT NOT NULL DEFAULT 1,
  created_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL,
  deleted_us BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX exports_subject ON exports (account_id, kind, subject) WHERE deleted_us = 0;
CREATE INDEX exports_account ON exports (account_id, id);

CREATE TABLE imports (
  id            TEXT   NOT NULL PRIMARY KEY,
  account_id    TEXT   NOT NULL REFERENCES accounts (id),
  exporter      TEXT   NOT NULL,
  kind          TEXT   NOT NULL,
  subject       TEXT   NOT NULL,
  body          TEXT   NOT NULL,
  activation_id TEXT   NOT NULL DEFAULT '',
  version       BIGINT NOT NULL DEFAULT 1,
  created_us    BIGINT NOT NULL,
  updated_us    BIGINT NOT NULL
);
CREATE INDEX imports_account ON imports (account_id, id);
CREATE INDEX imports_exporter ON imports (exporter, id);

-- Every activation token that was ever issued; what is revoked stands in the export.
CREATE TABLE activations (
  id         TEXT   NOT NULL PRIMARY KEY,
  account_id TEXT   NOT NULL REFERENCES accounts (id),
  export_id  TEXT   NOT NULL,
  importer   TEXT   NOT NULL,
  kind       TEXT   NOT NULL,
  subject    TEXT   NOT NULL,
  jti        TEXT   NOT NULL,
  iat        BIGINT NOT NULL,
  expires_s  BIGINT NOT NULL DEFAULT 0,
  signer     TEXT   NOT NULL,
  token      TEXT   NOT NULL,
  actor      TEXT   NOT NULL,
  request_id TEXT   NOT NULL,
  reason     TEXT   NOT NULL DEFAULT '',
  created_us BIGINT NOT NULL
);
CREATE INDEX activations_export ON activations (export_id, id);
CREATE INDEX activations_importer ON activations (account_id, importer, iat);
CREATE INDEX activations_signer ON activations (account_id, signer);

-- What carries an import is pushed after the account that it imports from: not before
-- that was tried, or until after_until_us.
ALTER TABLE outbox ADD COLUMN after_account TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN after_until_us BIGINT NOT NULL DEFAULT 0;

-- An imported credential keeps its JWT, to be written out again: sealed where it
-- admits its bearer.
ALTER TABLE credentials ADD COLUMN jwt TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN sealed_jwt BYTEA;

-- A store that was uploaded to be adopted: the archive is sealed, since there are seeds
-- in it, and gone once the job is done or expired.
CREATE TABLE import_jobs (
  id             TEXT   NOT NULL PRIMARY KEY,
  state          TEXT   NOT NULL,
  mode           TEXT   NOT NULL DEFAULT '',
  operator_id    TEXT   NOT NULL DEFAULT '',
  archive        BYTEA,
  sha256         BYTEA   NOT NULL,
  report         TEXT   NOT NULL,
  done           BIGINT NOT NULL DEFAULT 0,
  total          BIGINT NOT NULL DEFAULT 0,
  error          TEXT   NOT NULL DEFAULT '',
  actor          TEXT   NOT NULL,
  actor_kind     TEXT   NOT NULL,
  request_id     TEXT   NOT NULL,
  reason         TEXT   NOT NULL DEFAULT '',
  lease_owner    TEXT   NOT NULL DEFAULT '',
  lease_until_us BIGINT NOT NULL DEFAULT 0,
  version        BIGINT NOT NULL DEFAULT 1,
  created_us     BIGINT NOT NULL,
  updated_us     BIGINT NOT NULL,
  expires_us     BIGINT NOT NULL
);

-- Where an entry belongs, so that it can be shown to those whose place it is.
ALTER TABLE audit ADD COLUMN operator_id TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN account_id TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_account ON audit (account_id, seq);
CREATE INDEX audit_operator ON audit (operator_id, seq);
CREATE INDEX audit_actor ON audit (actor, seq);
CREATE INDEX audit_target ON audit (target, seq);
CREATE INDEX audit_request ON audit (request_id);
CREATE INDEX jwts_request ON jwts (request_id);
-- The key that signs checkpoints of the audit log: one of kind audit.
CREATE INDEX keys_audit ON keys (created_us) WHERE kind = 'audit';

-- Who may do what: a role on everything, on an operator, on an account or on one
-- template of it. holder is a person or a token.
CREATE TABLE grants (
  holder      TEXT   NOT NULL,
  role        TEXT   NOT NULL,
  operator_id TEXT   NOT NULL DEFAULT '',
  account_id  TEXT   NOT NULL DEFAULT '',
  template_id TEXT   NOT NULL DEFAULT '',
  created_by  TEXT   NOT NULL,
  created_us  BIGINT NOT NULL,
  PRIMARY KEY (holder, role, operator_id, account_id, template_id)
);
INSERT INTO grants (holder, role, created_by, created_us) SELECT id, role, '', created_us FROM people;
INSERT INTO grants (holder, role, created_by, created_us) SELECT id, role, created_by, created_us FROM tokens;
ALTER TABLE people DROP COLUMN role;
ALTER TABLE tokens DROP COLUMN role;
ALTER TABLE tokens DROP COLUMN scopes;
-- networks are the CIDRs a token may be used from; an empty list is everywhere.
ALTER TABLE tokens ADD COLUMN networks TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tokens ADD COLUMN last_used_from TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';
CREATE INDEX tokens_page ON tokens (created_us, id);

