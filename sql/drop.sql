-- Takes the schema out of the database that psql is connected to, with all its data, as a
-- superuser. The extensions stay, others may use them; the roles go, unless they own or may do
-- something elsewhere:
--
--   psql -X -d eav -f sql/drop.sql

\set ON_ERROR_STOP on

BEGIN;
SET LOCAL client_min_messages = warning;

DROP SCHEMA IF EXISTS pgusher CASCADE;
DROP SCHEMA IF EXISTS pgusher_session CASCADE;
DROP FUNCTION IF EXISTS public.refresh_entity_attribute_stats();
DROP VIEW IF EXISTS public.entity_attribute_stats;
DROP MATERIALIZED VIEW IF EXISTS public.mv_entity_attribute_stats;
DROP TABLE IF EXISTS public.replication_heartbeat;
DROP FUNCTION IF EXISTS public.stage_flush(integer);
DROP FUNCTION IF EXISTS public.stage_move(integer, bigint);
DROP TABLE IF EXISTS public.entity_values_ingest;
DROP FUNCTION IF EXISTS public.entity_values_ingest_refuse();
DROP FUNCTION IF EXISTS public.find_entities_by_attributes(bigint, jsonb, integer);
DROP FUNCTION IF EXISTS public.entity_values_maintain();
DROP FUNCTION IF EXISTS public.entity_values_make_partitions();
DROP FUNCTION IF EXISTS public.entity_values_close_partitions();
SELECT 'DELETE FROM partman.part_config WHERE parent_table = $$public.entity_values_ts$$'
 WHERE to_regclass('partman.part_config') IS NOT NULL \gexec
DROP TABLE IF EXISTS public.entity_values_ts;
DROP TABLE IF EXISTS partman.template_public_entity_values_ts;
DROP FUNCTION IF EXISTS public.upsert_hot_attrs(bigint, bigint, jsonb);
DROP TABLE IF EXISTS public.entity_jsonb;
DROP TABLE IF EXISTS public.entities;
DROP FUNCTION IF EXISTS public.entities_set_updated_at();
DROP TABLE IF EXISTS public.attributes;
DROP TABLE IF EXISTS public.tenants;

-- What the roles may do beside all that.
SELECT format('REVOKE ALL ON %s FROM %I', o.what, r.rolname)
  FROM pg_catalog.pg_roles r,
       (SELECT 'SCHEMA ' || nspname FROM pg_catalog.pg_namespace
         WHERE nspname IN ('public', 'extensions', 'partman')
        UNION ALL SELECT unnest(ARRAY['ALL TABLES IN SCHEMA partman',
                                      'ALL FUNCTIONS IN SCHEMA partman'])
         WHERE to_regnamespace('partman') IS NOT NULL
        UNION ALL SELECT format('DATABASE %I', current_database())
        UNION ALL SELECT 'LANGUAGE ' || lanname FROM pg_catalog.pg_language
                   WHERE lanpltrusted) o (what)
 WHERE r.rolname IN ('app', 'service', 'probe', 'eav_batch', 'eav_owner') \gexec

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['app', 'service', 'probe', 'eav_batch', 'eav_owner'] LOOP
        BEGIN
            EXECUTE format('DROP ROLE IF EXISTS %I', role);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            RAISE WARNING 'kept: %', SQLERRM;
        END;
    END LOOP;
END
$$;

COMMIT;
