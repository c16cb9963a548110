-- Takes from PUBLIC, in the database that psql is connected to, what PostgreSQL gives every role
-- and tenants must not have. As a superuser, after deploy.sql; safe to repeat:
--
--   psql -X -d eav -f sql/hardening.sql
--
-- set_config stays: the tenant's context is set with it. Roles that PostgreSQL has for a purpose
-- keep that purpose: pg_monitor looks, pg_signal_backend cancels, pg_read_server_files reads.
-- Others that need something get it by name afterwards (GRANT ... TO role). README.md says what a
-- managed service does not allow.

\set ON_ERROR_STOP on

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Which functions, and which role keeps them. Matched by name: versions differ in which there are.
CREATE TEMP TABLE closed_functions ON COMMIT DROP AS
SELECT p.oid, f.keeper
  FROM (VALUES
    -- What others run, and have run (isolation row 8). The views below call them as their reader.
    ('pg_stat_get_(activity|backend_.*|progress_info|wal_senders|wal_receiver)', 'pg_monitor'),
    ('pg_(prepared_statement|cursor|prepared_xact|lock_status)', 'pg_monitor'),
    ('pg_stat_statements(_info|_reset)?', 'pg_monitor'),
    ('pg_isolation_test_session_is_blocked', 'pg_monitor'),
    -- Counted over the rows of all tenants; currtid2 follows a row's versions past its policy.
    ('pg_stat_get_(xact_)?(numscans|lastscan|tuples_.*|blocks_(fetched|hit))', 'pg_monitor'),
    ('pg_stat_get_(live_tuples|dead_tuples|mod_since_analyze|ins_since_vacuum)', 'pg_monitor'),
    ('pg_wal_summary_contents', 'pg_monitor'),
    ('currtid2?', NULL),
    -- Messages to whoever reads the WAL, which names no tenant (row 11).
    ('pg_logical_emit_message', NULL),
    -- Stopping them (row 9).
    ('pg_(cancel|terminate)_backend|pg_log_backend_memory_contexts', 'pg_signal_backend'),
    -- Large objects know no rows (row 13).
    ('lo_.*|lo(read|write)', NULL),
    -- Files of the server (row 13).
    ('pg_read_(binary_)?file.*|pg_stat_file.*|pg_ls_.*|pg_file_.*', 'pg_read_server_files'),
    ('pg_current_logfile', 'pg_monitor'),
    -- SQL made at run time, unseen by PgUsher (row 2).
    ('(query|cursor|table|schema|database)_to_xml.*', NULL),
    ('ts_stat|crosstab.*|connectby|xpath_table|xpath_list|get_pkey_attnames', NULL),
    ('dblink.*|postgres_fdw_.*|file_fdw_.*', NULL)
  ) AS f (name, keeper)
  JOIN pg_proc p ON p.proname ~ ('^(' || f.name || ')$') AND p.prokind = 'f'
UNION ALL
SELECT 'ts_rewrite(tsquery, text)'::regprocedure, NULL;

SELECT format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', oid::regprocedure)
  FROM closed_functions \gexec
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', oid::regprocedure, keeper)
  FROM closed_functions WHERE keeper IS NOT NULL
   AND NOT has_function_privilege(keeper, oid, 'EXECUTE') \gexec

SELECT format('REVOKE ALL ON %s FROM PUBLIC', c.oid::regclass),
       format('GRANT SELECT ON %s TO pg_monitor', c.oid::regclass)
  FROM pg_class c
 WHERE c.relkind = 'v'
   AND c.relname IN ('pg_stat_activity', 'pg_prepared_statements', 'pg_cursors', 'pg_locks',
                     'pg_prepared_xacts', 'pg_stat_replication', 'pg_stat_ssl', 'pg_stat_gssapi',
                     'pg_stat_statements', 'pg_stat_statements_info') \gexec
REVOKE ALL ON pg_largeobject, pg_largeobject_metadata FROM PUBLIC;

-- DO blocks, and functions of the tenants' own. Running the functions that are there needs none
-- of it.
SELECT format('REVOKE USAGE ON LANGUAGE %I FROM PUBLIC', lanname)
  FROM pg_language WHERE lanpltrusted \gexec
-- The roles of sql/ are looked for: on a schema of one's own there may be others.
SELECT format('GRANT USAGE ON LANGUAGE %I TO eav_owner', lanname)
  FROM pg_language, pg_roles WHERE lanpltrusted AND rolname = 'eav_owner' \gexec
-- PgUsher's probe asks a standby which history it follows.
SELECT 'GRANT EXECUTE ON FUNCTION pg_stat_get_wal_receiver() TO probe'
  FROM pg_roles WHERE rolname = 'probe' \gexec

-- Temporary tables stand before real ones of the same name (row 6).
SELECT format('REVOKE TEMP, CREATE ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), rolname),
       format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), rolname)
  FROM pg_roles WHERE rolname IN ('app', 'service', 'probe') \gexec

-- PgUsher asks whether anything of its client is left in a session; the functions that tell are not
-- the tenants' any more. This one says yes or no, of one's own session.
CREATE SCHEMA IF NOT EXISTS pgusher_session;
CREATE OR REPLACE FUNCTION pgusher_session.is_clean() RETURNS boolean
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT (EXISTS (SELECT FROM pg_listening_channels())
             OR EXISTS (SELECT FROM pg_cursor() WHERE is_holdable)
             OR EXISTS (SELECT FROM pg_prepared_statement() WHERE from_sql)
             OR EXISTS (SELECT FROM pg_lock_status()
                         WHERE locktype = 'advisory' AND pid = pg_backend_pid())
             OR EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
                                                AND refobjid = pg_my_temp_schema()))
$$;
GRANT USAGE ON SCHEMA pgusher_session TO PUBLIC;
GRANT EXECUTE ON FUNCTION pgusher_session.is_clean() TO PUBLIC;

-- Schemas where everybody may create (row 5), and functions that are made from now on.
SELECT format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', nspname)
  FROM pg_namespace n, aclexplode(nspacl) a
 WHERE a.grantee = 0 AND a.privilege_type = 'CREATE' \gexec
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', rolname)
  FROM pg_roles WHERE rolname IN ('eav_owner', 'eav_batch') \gexec

COMMIT;
