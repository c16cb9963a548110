-- Deploys the schema into the database that psql is connected to, as a superuser:
--
--   psql -X -d eav [-v entity_partitions=200] [-v jsonb_partitions=100] [-v signed=1]
--        -f sql/deploy.sql
--
-- signed: the context must be signed, too (signed.sql).
--
-- One transaction: all of it or nothing. Safe to repeat; a larger entity_partitions adds
-- partitions, jsonb_partitions is fixed once deployed.

\set ON_ERROR_STOP on
\if :{?entity_partitions}
\else
    \set entity_partitions 200
\endif
\if :{?jsonb_partitions}
\else
    \set jsonb_partitions 100
\endif

BEGIN;
SET LOCAL client_min_messages = warning; -- IF [NOT] EXISTS is chatty on a repeated run
SET LOCAL search_path = pg_catalog, pg_temp;

-- Two deployments at once would run into each other.
SELECT pg_advisory_xact_lock(hashtext('pgusher deploy')) \g /dev/null

\ir roles.sql
\ir tenants.sql
\ir entities.sql
\ir entity_jsonb.sql

-- Behind all tables.
\set policy tenant_row
\set tenant 'NULLIF(current_setting(''app.current_tenant_id'', true), '''')::bigint'
\ir restrict.sql
\if :{?signed}
    \ir signed.sql
\endif

COMMIT;
