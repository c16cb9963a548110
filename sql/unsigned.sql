-- Takes signed.sql back, keys included: a plain context is enough again. As a superuser, when no
-- PgUsher needs the proof any more (the policies may go before or after [context] mode = plain):
--
--   psql -X -1 -d eav -f sql/unsigned.sql

\set ON_ERROR_STOP on
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT format('DROP POLICY tenant_proof ON %s', polrelid::regclass)
  FROM pg_catalog.pg_policy WHERE polname = 'tenant_proof' \gexec
-- The schema's own view as it was.
SELECT to_regclass('public.mv_entity_attribute_stats') IS NOT NULL AS has_statistics \gset
\if :has_statistics
    \ir mv_entity_attribute_stats.sql
\endif
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_views WHERE definition LIKE '%proven_tenant_id%') THEN
        RAISE 'a view still asks for the proof'
            USING HINT = 'Drop such views (SELECT viewname FROM pg_views WHERE definition LIKE'
                         ' ''%proven_tenant_id%''), run this again, then deploy.sql.';
    END IF;
END $$;
DROP SCHEMA IF EXISTS pgusher CASCADE;
