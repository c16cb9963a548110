-- Gives the signed context its key, and changes it. As a superuser, after signed.sql:
--
--   psql -X -d eav -v key_file=/etc/pgusher/proof.key -f sql/signed_key.sql
--   psql -X -d eav -v key_file=/etc/pgusher/proof.key -v only=1 -f sql/signed_key.sql
--
-- The first adds the key beside the one that is there, the second also expires all others. The
-- file is the one that PgUsher's proof_key_file names; docs/operations.md has the steps of a
-- change that no query notices. The key goes into neither psql's output nor the server's log.

\set ON_ERROR_STOP on
\set QUIET on
\set ECHO none
\set VERBOSITY terse
\if :{?key_file}
\else
    DO $$ BEGIN RAISE 'signed_key.sql: -v key_file=FILE is missing'; END $$;
\endif
\if :{?only}
\else
    \set only 0
\endif
\set proof_key `cat :'key_file'`

DO $$ BEGIN
    IF to_regprocedure('pgusher.proof_key_add(text, boolean)') IS NULL THEN
        RAISE 'signed_key.sql: run signed.sql in this database before';
    END IF;
END $$;

BEGIN;
SET LOCAL log_statement = none;
SET LOCAL log_min_duration_statement = -1;
SET LOCAL log_min_duration_sample = -1;
SET LOCAL log_transaction_sample_rate = 0;
SET LOCAL log_min_error_statement = panic;
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pgusher.proof_key_add(:'proof_key', :'only') AS key_id \gset
\unset proof_key
COMMIT;

SELECT key_id, added_at, valid_until, valid_until > now() AS is_valid
  FROM pgusher.proof_keys ORDER BY key_id;
