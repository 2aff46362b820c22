-- +goose Up

-- Accounts and activations that their holders post, as nsc does. Conventions as in 00001.

-- dropped tells that a disabled key only left with a JWT that the account's holder made.
ALTER TABLE keys ADD COLUMN dropped BOOLEAN NOT NULL DEFAULT FALSE;

-- An account that asks to be let in, under its identity: jwt is what its holder signed.
-- state is pending or refused; a row leaves when the account is made.
CREATE TABLE enrolments (
  account_id  TEXT   NOT NULL PRIMARY KEY,
  operator_id TEXT   NOT NULL REFERENCES operators (id),
  name        TEXT   NOT NULL,
  state       TEXT   NOT NULL,
  jwt         TEXT   NOT NULL,
  remote      TEXT   NOT NULL DEFAULT '',
  decided_by  TEXT   NOT NULL DEFAULT '',
  reason      TEXT   NOT NULL DEFAULT '',
  version     BIGINT NOT NULL DEFAULT 1,
  created_us  BIGINT NOT NULL,
  updated_us  BIGINT NOT NULL
);
CREATE INDEX enrolments_operator ON enrolments (operator_id, account_id);

-- The JWTs that holders posted and that were taken over: one that comes again changes
-- nothing. Of an account only the last ones are kept.
CREATE TABLE postings (
  account_id TEXT   NOT NULL REFERENCES accounts (id),
  sha256     BLOB   NOT NULL,
  iat        BIGINT NOT NULL,
  signer     TEXT   NOT NULL,
  created_us BIGINT NOT NULL,
  PRIMARY KEY (account_id, sha256)
);
CREATE INDEX postings_iat ON postings (account_id, iat);

-- Activation tokens that exporters made elsewhere and posted, by their hash: the newest
-- of each issuer, importer and subject.
CREATE TABLE posted_activations (
  hash        TEXT   NOT NULL PRIMARY KEY,
  operator_id TEXT   NOT NULL REFERENCES operators (id),
  account_id  TEXT   NOT NULL REFERENCES accounts (id),
  importer    TEXT   NOT NULL,
  issuer      TEXT   NOT NULL,
  iat         BIGINT NOT NULL,
  expires_s   BIGINT NOT NULL DEFAULT 0,
  token       TEXT   NOT NULL,
  created_us  BIGINT NOT NULL
);
CREATE INDEX posted_activations_account ON posted_activations (account_id, created_us);
