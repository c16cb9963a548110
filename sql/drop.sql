-- Takes the schema out of the database that psql is connected to, with all its data, as a
-- superuser. The roles go too, unless they own or may do something elsewhere:
--
--   psql -X -d eav -f sql/drop.sql

\set ON_ERROR_STOP on

BEGIN;
SET LOCAL client_min_messages = warning;

DROP SCHEMA IF EXISTS pgusher CASCADE;
DROP FUNCTION IF EXISTS public.upsert_hot_attrs(bigint, bigint, jsonb);
DROP TABLE IF EXISTS public.entity_jsonb;
DROP TABLE IF EXISTS public.entities;
DROP TABLE IF EXISTS public.tenants;
DROP FUNCTION IF EXISTS public.entities_set_updated_at();

SELECT format('REVOKE ALL ON SCHEMA public FROM %I', rolname)
  FROM pg_catalog.pg_roles WHERE rolname IN ('app', 'eav_owner') \gexec

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['app', 'eav_owner'] LOOP
        BEGIN
            EXECUTE format('DROP ROLE IF EXISTS %I', role);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            RAISE WARNING 'kept: %', SQLERRM;
        END;
    END LOOP;
END
$$;

COMMIT;
