-- +goose Up

-- Conventions: times are microseconds since 1970 (…_us) or, where a JWT says so,
-- seconds (…_s); JSON is TEXT; 0 and '' mean "none" where NULL would only add a
-- third value. `version` counts intent and is the ETag, `jwt_version` counts
-- signings: a re-sign invalidates nobody's ETag.

CREATE TABLE keysets (
  id         TEXT   NOT NULL PRIMARY KEY,
  kek_id     TEXT   NOT NULL,
  wrapped    BLOB   NOT NULL,
  version    BIGINT NOT NULL DEFAULT 1,
  created_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL
);

CREATE TABLE operators (
  id          TEXT    NOT NULL PRIMARY KEY,
  name        TEXT    NOT NULL UNIQUE,
  is_default  BOOLEAN NOT NULL,
  state       TEXT    NOT NULL,
  custody     TEXT    NOT NULL,
  settings    TEXT    NOT NULL,
  version     BIGINT  NOT NULL DEFAULT 1,
  jwt_version BIGINT  NOT NULL DEFAULT 0,
  iat         BIGINT  NOT NULL DEFAULT 0,
  jti         TEXT    NOT NULL DEFAULT '',
  jwt         TEXT    NOT NULL DEFAULT '',
  created_us  BIGINT  NOT NULL,
  updated_us  BIGINT  NOT NULL
);
CREATE UNIQUE INDEX operators_default ON operators (is_default) WHERE is_default;

CREATE TABLE accounts (
  id            TEXT    NOT NULL PRIMARY KEY,
  operator_id   TEXT    NOT NULL REFERENCES operators (id),
  name          TEXT    NOT NULL,
  state         TEXT    NOT NULL,
  is_system     BOOLEAN NOT NULL,
  settings      TEXT    NOT NULL,
  held_limits   TEXT    NOT NULL DEFAULT '',
  expires_s     BIGINT  NOT NULL DEFAULT 0,
  version       BIGINT  NOT NULL DEFAULT 1,
  jwt_version   BIGINT  NOT NULL DEFAULT 0,
  iat           BIGINT  NOT NULL DEFAULT 0,
  jti           TEXT    NOT NULL DEFAULT '',
  jwt           TEXT    NOT NULL DEFAULT '',
  last_user_iat BIGINT  NOT NULL DEFAULT 0,
  created_us    BIGINT  NOT NULL,
  updated_us    BIGINT  NOT NULL,
  deleted_us    BIGINT  NOT NULL DEFAULT 0,
  UNIQUE (operator_id, name, deleted_us)
);
CREATE INDEX accounts_page ON accounts (name, id);

CREATE TABLE templates (
  id          TEXT   NOT NULL PRIMARY KEY,
  operator_id TEXT   NOT NULL REFERENCES operators (id),
  account_id  TEXT   REFERENCES accounts (id),
  name        TEXT   NOT NULL,
  body        TEXT   NOT NULL,
  tests       TEXT   NOT NULL DEFAULT '[]',
  max_ttl_s   BIGINT NOT NULL DEFAULT 0,
  version     BIGINT NOT NULL DEFAULT 1,
  created_us  BIGINT NOT NULL,
  updated_us  BIGINT NOT NULL,
  deleted_us  BIGINT NOT NULL DEFAULT 0,
  UNIQUE (account_id, name, deleted_us)
);
CREATE UNIQUE INDEX templates_shared ON templates (operator_id, name, deleted_us) WHERE account_id IS NULL;

-- Identity and signing keys of operators and accounts. The seed is sealed with
-- the row's identity as associated data; empty where custody is elsewhere.
CREATE TABLE keys (
  id           TEXT   NOT NULL PRIMARY KEY,
  kind         TEXT   NOT NULL,
  role         TEXT   NOT NULL,
  operator_id  TEXT   NOT NULL,
  account_id   TEXT   NOT NULL DEFAULT '',
  template_id  TEXT   NOT NULL DEFAULT '',
  state        TEXT   NOT NULL,
  custody      TEXT   NOT NULL,
  sealed       BLOB,
  retire_at_us BIGINT NOT NULL DEFAULT 0,
  version      BIGINT NOT NULL DEFAULT 1,
  created_us   BIGINT NOT NULL,
  updated_us   BIGINT NOT NULL
);
CREATE INDEX keys_owner ON keys (operator_id, account_id, role, state);

CREATE TABLE users (
  id          TEXT   NOT NULL PRIMARY KEY,
  account_id  TEXT   NOT NULL REFERENCES accounts (id),
  name        TEXT   NOT NULL,
  template_id TEXT   REFERENCES templates (id),
  permissions TEXT   NOT NULL DEFAULT '',
  tags        TEXT   NOT NULL DEFAULT '[]',
  state       TEXT   NOT NULL,
  version     BIGINT NOT NULL DEFAULT 1,
  created_us  BIGINT NOT NULL,
  updated_us  BIGINT NOT NULL,
  deleted_us  BIGINT NOT NULL DEFAULT 0,
  UNIQUE (account_id, name, deleted_us)
);

-- The ledger of issuances. Rows are added and never rewritten; the status of a
-- credential is worked out from time, revocations and the state of its signer.
CREATE TABLE credentials (
  id           TEXT    NOT NULL PRIMARY KEY,
  user_id      TEXT    NOT NULL REFERENCES users (id),
  account_id   TEXT    NOT NULL REFERENCES accounts (id),
  public_key   TEXT    NOT NULL,
  jti          TEXT    NOT NULL,
  iat          BIGINT  NOT NULL,
  expires_s    BIGINT  NOT NULL DEFAULT 0,
  signer       TEXT    NOT NULL,
  sha256       BLOB    NOT NULL,
  bearer       BOOLEAN NOT NULL,
  key_origin   TEXT    NOT NULL,
  delivery     TEXT    NOT NULL,
  delivered_to TEXT    NOT NULL DEFAULT '',
  actor        TEXT    NOT NULL,
  request_id   TEXT    NOT NULL,
  reason       TEXT    NOT NULL DEFAULT '',
  created_us   BIGINT  NOT NULL
);
CREATE INDEX credentials_user ON credentials (user_id, id);
CREATE INDEX credentials_key ON credentials (account_id, public_key, iat);
CREATE INDEX credentials_expiry ON credentials (account_id, expires_s);

-- One row for each revocation that was asked for; the highest before_s of a
-- subject holds. removed_us is set by compaction or an audited un-revoke.
CREATE TABLE revocations (
  id         TEXT   NOT NULL PRIMARY KEY,
  account_id TEXT   NOT NULL REFERENCES accounts (id),
  subject    TEXT   NOT NULL,
  before_s   BIGINT NOT NULL,
  reason     TEXT   NOT NULL DEFAULT '',
  actor      TEXT   NOT NULL,
  request_id TEXT   NOT NULL,
  created_us BIGINT NOT NULL,
  removed_us BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX revocations_subject ON revocations (account_id, subject, before_s);

-- Every operator and account JWT ever signed; the body is kept for the newest.
CREATE TABLE jwts (
  subject     TEXT   NOT NULL,
  jwt_version BIGINT NOT NULL,
  kind        TEXT   NOT NULL,
  iat         BIGINT NOT NULL,
  jti         TEXT   NOT NULL,
  sha256      BLOB   NOT NULL,
  signer      TEXT   NOT NULL,
  actor       TEXT   NOT NULL,
  request_id  TEXT   NOT NULL,
  jwt         TEXT   NOT NULL,
  created_us  BIGINT NOT NULL,
  PRIMARY KEY (subject, jwt_version),
  UNIQUE (subject, iat)
);

-- The work owed for an account: one row, the latest state wins.
CREATE TABLE outbox (
  account_id       TEXT   NOT NULL PRIMARY KEY REFERENCES accounts (id),
  operator_id      TEXT   NOT NULL,
  want_jwt_version BIGINT NOT NULL,
  not_before_us    BIGINT NOT NULL,
  attempts         BIGINT NOT NULL DEFAULT 0,
  lease_owner      TEXT   NOT NULL DEFAULT '',
  lease_epoch      BIGINT NOT NULL DEFAULT 0,
  lease_until_us   BIGINT NOT NULL DEFAULT 0,
  created_us       BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (operator_id, not_before_us);

CREATE TABLE servers (
  id            TEXT   NOT NULL,
  operator_id   TEXT   NOT NULL REFERENCES operators (id),
  name          TEXT   NOT NULL,
  cluster       TEXT   NOT NULL DEFAULT '',
  version       TEXT   NOT NULL DEFAULT '',
  state         TEXT   NOT NULL,
  first_seen_us BIGINT NOT NULL,
  last_seen_us  BIGINT NOT NULL,
  PRIMARY KEY (operator_id, id)
);

CREATE TABLE deliveries (
  account_id      TEXT   NOT NULL REFERENCES accounts (id),
  server_id       TEXT   NOT NULL,
  server_name     TEXT   NOT NULL DEFAULT '',
  jwt_version     BIGINT NOT NULL,
  state           TEXT   NOT NULL,
  error           TEXT   NOT NULL DEFAULT '',
  sent_us         BIGINT NOT NULL DEFAULT 0,
  acknowledged_us BIGINT NOT NULL DEFAULT 0,
  proven_us       BIGINT NOT NULL DEFAULT 0,
  updated_us      BIGINT NOT NULL,
  PRIMARY KEY (account_id, server_id)
);

-- The numbered log that feeds replicas and the event stream. Rows are inserted
-- without a number; the sequencer numbers them right after commit.
CREATE TABLE changes (
  id          TEXT   NOT NULL PRIMARY KEY,
  seq         BIGINT UNIQUE,
  kind        TEXT   NOT NULL,
  operator_id TEXT   NOT NULL,
  account_id  TEXT   NOT NULL DEFAULT '',
  subject     TEXT   NOT NULL,
  jwt_version BIGINT NOT NULL DEFAULT 0,
  created_us  BIGINT NOT NULL
);
CREATE INDEX changes_unnumbered ON changes (id) WHERE seq IS NULL;

CREATE TABLE audit (
  id          TEXT   NOT NULL PRIMARY KEY,
  seq         BIGINT UNIQUE,
  hash        BLOB,
  at_us       BIGINT NOT NULL,
  actor       TEXT   NOT NULL,
  actor_kind  TEXT   NOT NULL,
  action      TEXT   NOT NULL,
  target_kind TEXT   NOT NULL,
  target      TEXT   NOT NULL,
  outcome     TEXT   NOT NULL,
  request_id  TEXT   NOT NULL,
  reason      TEXT   NOT NULL DEFAULT '',
  detail      TEXT   NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_unnumbered ON audit (id) WHERE seq IS NULL;

CREATE TABLE sequencer (
  id         BIGINT NOT NULL PRIMARY KEY,
  epoch      BIGINT NOT NULL,
  change_seq BIGINT NOT NULL,
  audit_seq  BIGINT NOT NULL,
  audit_hash BLOB   NOT NULL
);
INSERT INTO sequencer (id, epoch, change_seq, audit_seq, audit_hash) VALUES (1, 0, 0, 0, x'');

CREATE TABLE people (
  id         TEXT   NOT NULL PRIMARY KEY,
  name       TEXT   NOT NULL UNIQUE,
  role       TEXT   NOT NULL,
  state      TEXT   NOT NULL,
  version    BIGINT NOT NULL DEFAULT 1,
  created_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL
);

-- API tokens: only the hash is kept.
CREATE TABLE tokens (
  id           TEXT   NOT NULL PRIMARY KEY,
  name         TEXT   NOT NULL,
  hash         BLOB   NOT NULL UNIQUE,
  role         TEXT   NOT NULL,
  scopes       TEXT   NOT NULL DEFAULT '[]',
  created_by   TEXT   NOT NULL,
  expires_us   BIGINT NOT NULL,
  last_used_us BIGINT NOT NULL DEFAULT 0,
  revoked_us   BIGINT NOT NULL DEFAULT 0,
  created_us   BIGINT NOT NULL
);

-- One-time links, for sign-in and for the first owner: only the hash is kept.
CREATE TABLE links (
  id         TEXT   NOT NULL PRIMARY KEY,
  hash       BLOB   NOT NULL UNIQUE,
  purpose    TEXT   NOT NULL,
  person_id  TEXT   NOT NULL DEFAULT '',
  expires_us BIGINT NOT NULL,
  used_us    BIGINT NOT NULL DEFAULT 0,
  created_us BIGINT NOT NULL
);

CREATE TABLE sessions (
  token      TEXT   NOT NULL PRIMARY KEY,
  data       BLOB   NOT NULL,
  expires_us BIGINT NOT NULL
);
CREATE INDEX sessions_expiry ON sessions (expires_us);
