-- +goose Up

-- What servers held, or were sent, that was not what they had been given.
CREATE TABLE drifts (
  id           TEXT   NOT NULL PRIMARY KEY,
  operator_id  TEXT   NOT NULL,
  account_id   TEXT   NOT NULL,
  account_name TEXT   NOT NULL DEFAULT '',
  -- server_id is empty where it cannot be told: a lookup's answer does not say whose it
  -- is, and a push goes to all.
  server_id    TEXT   NOT NULL DEFAULT '',
  server_name  TEXT   NOT NULL DEFAULT '',
  kind         TEXT   NOT NULL,
  state        TEXT   NOT NULL,
  decision     TEXT   NOT NULL DEFAULT '',
  decided_by   TEXT   NOT NULL DEFAULT '',
  -- seen is where it was noticed: pushed, memory or disk.
  seen         TEXT   NOT NULL,
  times        BIGINT NOT NULL DEFAULT 1,
  signer       TEXT   NOT NULL DEFAULT '',
  iat          BIGINT NOT NULL DEFAULT 0,
  ours_version BIGINT NOT NULL DEFAULT 0,
  detail       TEXT   NOT NULL DEFAULT '',
  diff         TEXT   NOT NULL DEFAULT '[]',
  -- jwt is what was found; only the newest keep it.
  jwt          TEXT   NOT NULL DEFAULT '',
  found_us     BIGINT NOT NULL,
  last_us      BIGINT NOT NULL,
  closed_us    BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX drifts_open ON drifts (operator_id, account_id, kind) WHERE state = 'open';
CREATE INDEX drifts_page ON drifts (operator_id, found_us, id);
CREATE INDEX drifts_account ON drifts (account_id, state);

-- The replica that looks for drift at an operator's servers, and when it last finished.
CREATE TABLE sweeps (
  operator_id TEXT   NOT NULL PRIMARY KEY,
  owner       TEXT   NOT NULL,
  until_us    BIGINT NOT NULL,
  recent_us   BIGINT NOT NULL DEFAULT 0,
  whole_us    BIGINT NOT NULL DEFAULT 0
);
