-- Deploys the schema into the database that psql is connected to, as a superuser:
--
--   psql -X -d eav [-v entity_partitions=200] [-v jsonb_partitions=100] [-v history_months=3]
--        [-v signed=1] -f sql/deploy.sql
--
-- signed: the context must be signed, too (signed.sql).
--
-- One transaction: all of it or nothing. Safe to repeat; a larger entity_partitions adds
-- partitions, jsonb_partitions and history_months (monthly partitions before this month) are
-- fixed once deployed.

\set ON_ERROR_STOP on
\if :{?entity_partitions}
\else
    \set entity_partitions 200
\endif
\if :{?jsonb_partitions}
\else
    \set jsonb_partitions 100
\endif
\if :{?history_months}
\else
    \set history_months 3
\endif

SELECT current_setting('search_path') AS search_path_before \gset
BEGIN;
SET LOCAL client_min_messages = warning; -- IF [NOT] EXISTS is chatty on a repeated run
SET LOCAL search_path = pg_catalog, pg_temp;

-- Two deployments at once would run into each other.
SELECT pg_advisory_xact_lock(hashtext('pgusher deploy')) \g /dev/null

\ir roles.sql
\ir extensions.sql
\ir tenants.sql
\ir attributes.sql
\ir entities.sql
\ir entity_jsonb.sql
\ir entity_values_ts.sql
\ir entity_values_ingest.sql
\ir replication_heartbeat.sql
\ir mv_entity_attribute_stats.sql

-- Behind all tables.
\ir restrict.sql
-- What is signed stays so: the tables' files have just made its view plain again.
SELECT to_regnamespace('pgusher') IS NOT NULL AS was_signed \gset
\if :was_signed
    \set signed 1
\endif
\if :{?signed}
    \ir signed.sql
\endif

COMMIT;
-- pg_partman has set it for the session.
SELECT set_config('search_path', :'search_path_before', false) \g /dev/null
