-- Tests of sql/: tenants, entities and entity_jsonb, deploy and drop, and that the database side
-- of tenant isolation holds for the role app by itself, without PgUsher. The other tables are
-- test_values.sql's. Run by psql as a superuser, in an empty database of a
-- THROW-AWAY cluster (roles are made and dropped):
--
--   createdb schema_test && psql -X -d schema_test -f tests/sql/test_schema.sql
--
-- Exit status 3 at the first failure. "row N" is a row of the isolation matrix.

\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
SET plpgsql.check_asserts = on;
SET client_min_messages = warning;

DO $$
BEGIN
    ASSERT to_regclass('public.tenants') IS NULL AND to_regclass('public.entities') IS NULL,
        'this database is in use: run the test in an empty one';
END
$$;

-- Runs sql, which must fail with this SQLSTATE and a message like this.
CREATE FUNCTION pg_temp.must_fail(sql text, state text, message text DEFAULT '%') RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    got text := 'no error';
    said text := '';
BEGIN
    BEGIN
        EXECUTE sql;
    EXCEPTION WHEN OTHERS THEN
        got := SQLSTATE;
        said := SQLERRM;
    END;
    ASSERT got = state AND said LIKE message,
        format('%s: %s (%s) instead of %s (%s)', sql, got, said, state, message);
END
$$;

-- Runs sql, which must touch this many rows.
CREATE FUNCTION pg_temp.must_touch(sql text, n bigint) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    got bigint;
BEGIN
    EXECUTE sql;
    GET DIAGNOSTICS got = ROW_COUNT;
    ASSERT got = n, format('%s: %s rows instead of %s', sql, got, n);
END
$$;

\echo deploy, and again with one partition more
\set entity_partitions 2
\set jsonb_partitions 4
\ir ../../sql/deploy.sql
\ir ../../sql/demo_seed.sql
CREATE TEMP TABLE first_seed AS
    SELECT e.*, j.hot_attrs, j.updated_at AS hot_updated_at
      FROM public.entities e JOIN public.entity_jsonb j USING (entity_id, tenant_id);
\set entity_partitions 3
\ir ../../sql/deploy.sql
DO $$
BEGIN
    ASSERT (SELECT count(*) FROM public.entities) = 10, 'a second deploy keeps the rows';
END
$$;

\echo the seed is the same each time
\ir ../../sql/demo_seed.sql
DO $$
BEGIN
    ASSERT (SELECT count(*) FROM first_seed) = 10;
    ASSERT NOT EXISTS (
        SELECT e.*, j.hot_attrs, j.updated_at
          FROM public.entities e JOIN public.entity_jsonb j USING (entity_id, tenant_id)
        EXCEPT SELECT * FROM first_seed), 'the seed differs';
    ASSERT (SELECT array_agg(tenant_id ORDER BY tenant_id) FROM public.tenants) = '{123,456}';
END
$$;
DROP TABLE first_seed;

\echo columns, keys, partitions, indexes, settings, trigger
DO $$
DECLARE
    cols text;
BEGIN
    SELECT string_agg(format('%s.%s %s%s', c.relname, a.attname,
                             format_type(a.atttypid, a.atttypmod),
                             CASE WHEN a.attnotnull THEN ' not null' ELSE '' END),
                      E'\n' ORDER BY c.relname, a.attnum)
      INTO cols
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.oid IN ('public.tenants'::regclass, 'public.entities'::regclass,
                     'public.entity_jsonb'::regclass) AND a.attnum > 0;
    ASSERT cols = E'entities.entity_id bigint not null\n'
        'entities.tenant_id bigint not null\n'
        'entities.entity_type character varying(100)\n'
        'entities.created_at timestamp with time zone\n'
        'entities.updated_at timestamp with time zone\n'
        'entities.is_deleted boolean\n'
        'entities.version integer\n'
        'entity_jsonb.entity_id bigint not null\n'
        'entity_jsonb.tenant_id bigint not null\n'
        'entity_jsonb.hot_attrs jsonb not null\n'
        'entity_jsonb.updated_at timestamp with time zone\n'
        'tenants.tenant_id bigint not null\n'
        'tenants.tenant_name character varying(255) not null\n'
        'tenants.created_at timestamp with time zone\n'
        'tenants.is_active boolean', cols;
END
$$;
DO $$
DECLARE
    defs text[];
BEGIN
    SELECT array_agg(replace(indexdef, 'ON ONLY public.', 'ON public.') ORDER BY indexname)
      INTO defs
      FROM pg_indexes
     WHERE schemaname = 'public' AND tablename IN ('tenants', 'entities', 'entity_jsonb');
    ASSERT defs = ARRAY[
        'CREATE UNIQUE INDEX entities_pkey ON public.entities USING btree (entity_id, tenant_id)',
        'CREATE INDEX entities_tenant_entity_idx ON public.entities'
            ' USING btree (tenant_id, entity_id)',
        'CREATE INDEX entities_type_tenant_idx ON public.entities'
            ' USING btree (entity_type, tenant_id)',
        'CREATE INDEX entities_updated_idx ON public.entities'
            ' USING btree (updated_at) WHERE (NOT is_deleted)',
        'CREATE INDEX entity_jsonb_hot_attrs_idx ON public.entity_jsonb USING gin (hot_attrs)',
        'CREATE UNIQUE INDEX entity_jsonb_pkey ON public.entity_jsonb'
            ' USING btree (entity_id, tenant_id)',
        'CREATE INDEX entity_jsonb_tenant_idx ON public.entity_jsonb USING btree (tenant_id)',
        'CREATE UNIQUE INDEX tenants_pkey ON public.tenants USING btree (tenant_id)'
    ], defs::text;
END
$$;
CREATE TEMP VIEW parts AS
    SELECT i.inhparent::regclass::text AS parent, c.*,
           pg_get_expr(c.relpartbound, c.oid) AS bound
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent IN ('public.entities'::regclass, 'public.entity_jsonb'::regclass);
DO $$
DECLARE
    all_options text[] := ARRAY[
        'autovacuum_vacuum_threshold=1000', 'autovacuum_vacuum_scale_factor=0.05',
        'autovacuum_analyze_threshold=1000', 'autovacuum_analyze_scale_factor=0.05'];
    hot_options text[] := ARRAY[
        'autovacuum_vacuum_threshold=100', 'autovacuum_vacuum_scale_factor=0.01',
        'autovacuum_vacuum_cost_delay=2'];
BEGIN
    ASSERT (SELECT array_agg(bound ORDER BY relname) FROM parts WHERE parent = 'entities')
        = ARRAY[$s$FOR VALUES FROM ('0') TO ('1000000')$s$,
                $s$FOR VALUES FROM ('1000000') TO ('2000000')$s$,
                $s$FOR VALUES FROM ('2000000') TO ('3000000')$s$];
    ASSERT (SELECT array_agg(bound ORDER BY relname) FROM parts WHERE parent = 'entity_jsonb')
        = ARRAY['FOR VALUES WITH (modulus 4, remainder 0)',
                'FOR VALUES WITH (modulus 4, remainder 1)',
                'FOR VALUES WITH (modulus 4, remainder 2)',
                'FOR VALUES WITH (modulus 4, remainder 3)'];
    ASSERT (SELECT bool_and(reloptions = CASE parent WHEN 'entities' THEN all_options
                                                     ELSE hot_options END) FROM parts);
    ASSERT (SELECT count(*) FROM pg_trigger t JOIN parts ON parts.oid = t.tgrelid
             WHERE t.tgname = 'entities_set_updated_at' AND t.tgenabled = 'O') = 3;
END
$$;

\echo owners, grants, policies (rows 5, 15, 16, 17)
DO $$
DECLARE
    rel record;
    policy text := '(tenant_id = (NULLIF(current_setting(''app.current_tenant_id''::text, true),'
                   ' ''''::text))::bigint)';
BEGIN
    FOR rel IN SELECT c.oid::regclass AS name, c.*, p.oid IS NOT NULL AS is_part
                 FROM pg_class c LEFT JOIN parts p ON p.oid = c.oid
                WHERE p.oid IS NOT NULL OR c.oid IN (
                      'public.tenants'::regclass, 'public.entities'::regclass,
                      'public.entity_jsonb'::regclass)
    LOOP
        ASSERT rel.relrowsecurity AND rel.relforcerowsecurity, rel.name;
        ASSERT rel.relowner = 'eav_owner'::regrole, rel.name;
        ASSERT (SELECT count(*) FROM pg_policy WHERE polrelid = rel.oid)
            = CASE WHEN rel.is_part THEN 0 WHEN rel.name::text = 'tenants' THEN 3 ELSE 2 END,
            rel.name;
        ASSERT NOT has_table_privilege('app', rel.oid, 'TRUNCATE, REFERENCES, TRIGGER'),
            rel.name;
        ASSERT has_table_privilege('app', rel.oid, 'SELECT') = NOT rel.is_part, rel.name;
        ASSERT has_table_privilege('app', rel.oid, 'INSERT, UPDATE, DELETE')
            = (rel.name::text IN ('entities', 'entity_jsonb')), rel.name;
    END LOOP;
    ASSERT (SELECT bool_and(qual = policy AND with_check = policy AND permissive = 'PERMISSIVE'
                            AND cmd = 'ALL' AND roles = '{public}')
              FROM pg_policies WHERE policyname = 'tenant_isolation');
    ASSERT (SELECT array_agg(tablename ORDER BY tablename)
              FROM pg_policies WHERE policyname = 'tenant_isolation')
        = '{entities,entity_jsonb,entity_values_ts,tenants}';
    ASSERT (SELECT bool_and(qual LIKE '%NULLIF((tenant_id =%, false) IS NOT NULL%' AND with_check = qual
                            AND permissive = 'RESTRICTIVE' AND cmd = 'ALL' AND roles = '{public}')
              FROM pg_policies WHERE policyname = 'tenant_row');
    ASSERT (SELECT count(*) FROM pg_policies WHERE policyname = 'tenant_row') = 4;
    ASSERT (SELECT provolatile FROM pg_proc WHERE oid = 'current_setting(text, bool)'::regprocedure)
        = 's';
END
$$;
DO $$
BEGIN
    ASSERT (SELECT rolcanlogin AND NOT (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb
                                        OR rolreplication)
              FROM pg_roles WHERE rolname = 'app');
    ASSERT (SELECT NOT (rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb
                        OR rolreplication)
              FROM pg_roles WHERE rolname = 'eav_owner');
    ASSERT NOT EXISTS (SELECT FROM pg_auth_members WHERE member = 'app'::regrole);
    ASSERT NOT has_schema_privilege('app', 'public', 'CREATE');
    ASSERT (SELECT bool_and(prosecdef AND proowner = 'eav_owner'::regrole
                            AND proconfig = '{"search_path=pg_catalog, pg_temp"}')
              FROM pg_proc WHERE proname = 'upsert_hot_attrs');
    ASSERT NOT EXISTS (
        SELECT FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
         WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0), 'PUBLIC may execute';
    ASSERT has_function_privilege('app', 'public.upsert_hot_attrs(bigint, bigint, jsonb)',
                                  'EXECUTE');
END
$$;

SET SESSION AUTHORIZATION app;

\echo no context: no rows, no writes
DO $$
BEGIN
    ASSERT current_setting('app.current_tenant_id', true) IS NULL, 'not a new session';
END
$$;
SELECT pg_temp.must_touch('SELECT FROM public.' || t, 0)
  FROM unnest('{tenants,entities,entity_jsonb}'::text[]) t \g /dev/null
SELECT pg_temp.must_touch('UPDATE public.entities SET version = 2', 0) \g /dev/null
SELECT pg_temp.must_touch('DELETE FROM public.entity_jsonb', 0) \g /dev/null
SELECT pg_temp.must_fail('INSERT INTO public.entities VALUES (1, 123)', '42501') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(123, 1001, ''{}'')',
                         '42501', 'upsert_hot_attrs: p_tenant_id%') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(NULL, 1001, ''{}'')',
                         '42501', 'upsert_hot_attrs: p_tenant_id%') \g /dev/null

\echo a tenant sees and changes its own rows only
BEGIN;
SET LOCAL app.current_tenant_id = '123';
DO $$
BEGIN
    ASSERT (SELECT array_agg(tenant_id) FROM public.tenants) = '{123}';
    ASSERT (SELECT count(*) = 5 AND bool_and(tenant_id = 123) FROM public.entities);
    ASSERT (SELECT count(*) = 5 AND bool_and(tenant_id = 123) FROM public.entity_jsonb);
    ASSERT (SELECT array_agg(e.entity_id ORDER BY e.entity_id)
              FROM public.entities e JOIN public.entity_jsonb j USING (entity_id)
             WHERE j.hot_attrs @> '{"environment": "production"}'
               AND j.hot_attrs ->> 'status' IN ('active', 'warning')
               AND (j.hot_attrs ->> 'priority')::int >= 8) = '{1001,1002,1000005}';
END
$$;
SELECT pg_temp.must_touch('UPDATE public.entities SET version = version + 1', 5) \g /dev/null
SELECT pg_temp.must_touch('UPDATE public.entities SET version = 9 WHERE tenant_id = 456', 0)
    \g /dev/null
SELECT pg_temp.must_touch('DELETE FROM public.entity_jsonb WHERE entity_id = 2001', 0) \g /dev/null
SELECT pg_temp.must_touch('INSERT INTO public.entities VALUES (2999999, 123)', 1) \g /dev/null
INSERT INTO public.entity_jsonb (entity_id, tenant_id) VALUES (2999999, 123);
DO $$
BEGIN
    ASSERT (SELECT created_at = now() AND updated_at = now() AND NOT is_deleted AND version = 1
              FROM public.entities WHERE entity_id = 2999999), 'defaults';
    ASSERT (SELECT hot_attrs = '{}' AND updated_at = now()
              FROM public.entity_jsonb WHERE entity_id = 2999999), 'defaults';
END
$$;
SELECT pg_temp.must_fail(s, '42501') FROM unnest(ARRAY[
    'INSERT INTO public.entities VALUES (2999998, 456)',
    'INSERT INTO public.entity_jsonb VALUES (2001, 456) ON CONFLICT DO NOTHING',
    'UPDATE public.entities SET tenant_id = 456 WHERE entity_id = 1001',
    'UPDATE public.entity_jsonb SET tenant_id = 456 WHERE entity_id = 1001',
    'UPDATE public.tenants SET is_active = false',
    'INSERT INTO public.tenants VALUES (123, ''x'')',
    'DELETE FROM public.tenants',
    'TRUNCATE public.entities']) s \g /dev/null
ROLLBACK;

\echo after one SET LOCAL transaction the setting is empty: no rows, no error (row 16)
DO $$
BEGIN
    ASSERT current_setting('app.current_tenant_id', true) = '', 'the case is not there any more';
END
$$;
SELECT pg_temp.must_touch('SELECT FROM public.' || t, 0)
  FROM unnest('{tenants,entities,entity_jsonb}'::text[]) t \g /dev/null
SELECT pg_temp.must_fail('INSERT INTO public.entities VALUES (1, 123)', '42501') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(123, 1001, ''{}'')',
                         '42501', 'upsert_hot_attrs: p_tenant_id%') \g /dev/null

\echo upsert_hot_attrs: merges, and only for the tenant of the context (row 14)
BEGIN;
SET LOCAL app.current_tenant_id = '123';
SELECT public.upsert_hot_attrs(123, 1001, '{"status": "warning", "firmware": "2.1"}') \g /dev/null
SELECT public.upsert_hot_attrs(123, 777, '{"status": "new"}') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(456, 2001, ''{"status": "owned"}'')',
                         '42501', 'upsert_hot_attrs: p_tenant_id%') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(NULL, 2001, ''{}'')',
                         '42501', 'upsert_hot_attrs: p_tenant_id%') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(123, 1001, ''[1]'')', '22023') \g /dev/null
SELECT pg_temp.must_fail('SELECT public.upsert_hot_attrs(123, 1001, NULL)', '22023') \g /dev/null
DO $$
BEGIN
    ASSERT (SELECT hot_attrs = '{"environment": "production", "status": "warning", "priority": 9,
                                 "region": "us-west-2", "firmware": "2.1"}'
                   AND updated_at >= now()
              FROM public.entity_jsonb WHERE entity_id = 1001), 'merged';
    ASSERT (SELECT hot_attrs = '{"status": "new"}'
              FROM public.entity_jsonb WHERE entity_id = 777), 'inserted';
END
$$;
-- A table of the caller's does not get between the function and its own.
CREATE TEMP TABLE entity_jsonb (LIKE public.entity_jsonb INCLUDING ALL);
SET LOCAL search_path = pg_temp, public;
SELECT public.upsert_hot_attrs(123, 778, '{"status": "new"}') \g /dev/null
DO $$
BEGIN
    ASSERT NOT EXISTS (SELECT FROM pg_temp.entity_jsonb);
    ASSERT EXISTS (SELECT FROM public.entity_jsonb WHERE entity_id = 778);
END
$$;
ROLLBACK;

\echo an update sets updated_at
BEGIN;
SET LOCAL app.current_tenant_id = '456';
UPDATE public.entities SET version = 2, updated_at = '2000-01-01' WHERE entity_id = 2001;
DO $$
BEGIN
    ASSERT (SELECT updated_at >= now() FROM public.entities WHERE entity_id = 2001);
    ASSERT (SELECT updated_at = '2025-01-04 09:05:00+00'
              FROM public.entities WHERE entity_id = 2002);
END
$$;
ROLLBACK;

\echo the ways around (rows 5, 15)
BEGIN;
SET LOCAL app.current_tenant_id = '123';
SELECT pg_temp.must_fail(s, '42501') FROM unnest(ARRAY[
    'SELECT FROM public.entities_p000',
    'SELECT FROM public.entity_jsonb_p000',
    'INSERT INTO public.entities_p000 VALUES (1, 456)',
    'CREATE TABLE public.mine ()',
    'CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS ''SELECT 1''',
    'CREATE SCHEMA mine',
    'SET ROLE eav_owner',
    'ALTER TABLE public.entities DISABLE ROW LEVEL SECURITY',
    'ALTER TABLE public.entities NO FORCE ROW LEVEL SECURITY',
    'DROP POLICY tenant_isolation ON public.entities',
    'CREATE POLICY open ON public.entities USING (true)',
    'ALTER FUNCTION public.upsert_hot_attrs(bigint, bigint, jsonb) RESET ALL',
    'SET session_replication_role = replica',
    'COPY public.entities TO ''/tmp/x''']) s \g /dev/null
SET LOCAL row_security = off;
SELECT pg_temp.must_fail('SELECT FROM public.entities', '42501') \g /dev/null
ROLLBACK;

\echo a comparison of the query's own does not stand in for the policy's (rows 15, 18)
BEGIN;
SET LOCAL ROLE app;
SET LOCAL app.current_tenant_id = 123;
SET LOCAL my.tenant = 123;
-- The first row's set_config would let the second join run with 456.
SELECT count(*) FILTER (WHERE tenant_id <> 123) AS others, count(*) > 0 AS own FROM (
    SELECT e.tenant_id, set_config('my.tenant', '456', true)
      FROM (VALUES (123::bigint), (456)) AS other (y)
      JOIN public.entities e ON current_setting('my.tenant')::bigint = e.tenant_id
     WHERE current_setting('my.tenant')::bigint = other.y) AS seen \gset
ROLLBACK;
SELECT :others = 0 AND :'own' AS ok \gset
\if :ok
\else
    DO $$ BEGIN RAISE 'rows of another tenant were seen'; END $$;
\endif

\echo the owner is under the policies too (FORCE)
RESET SESSION AUTHORIZATION;
SET ROLE eav_owner;
SELECT pg_temp.must_touch('SELECT FROM public.' || t, 0)
  FROM unnest('{tenants,entities,entity_jsonb,entities_p000}'::text[]) t \g /dev/null
SELECT pg_temp.must_fail('INSERT INTO public.entities VALUES (1, 123)', '42501') \g /dev/null
RESET ROLE;

\echo a deploy takes back what was given since
GRANT SELECT ON public.entities_p000 TO app;
GRANT TRUNCATE ON public.entities TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
GRANT eav_owner TO app;
ALTER ROLE app BYPASSRLS;
ALTER ROLE app SET app.current_tenant_id = '456';
ALTER TABLE public.tenants NO FORCE ROW LEVEL SECURITY;
\ir ../../sql/deploy.sql
DO $$
BEGIN
    ASSERT NOT has_table_privilege('app', 'public.entities_p000', 'SELECT');
    ASSERT NOT has_table_privilege('app', 'public.entities', 'TRUNCATE');
    ASSERT NOT has_schema_privilege('app', 'public', 'CREATE');
    ASSERT NOT pg_has_role('app', 'eav_owner', 'MEMBER');
    ASSERT NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'app');
    ASSERT NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setrole = 'app'::regrole);
    ASSERT (SELECT relforcerowsecurity FROM pg_class WHERE oid = 'public.tenants'::regclass);
END
$$;

\echo drop leaves nothing, and may be repeated
DROP VIEW parts;
\ir ../../sql/drop.sql
\ir ../../sql/drop.sql
DO $$
BEGIN
    ASSERT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace);
    ASSERT NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'public'::regnamespace);
    -- A role that another database of the cluster uses stays.
    ASSERT NOT EXISTS (SELECT FROM pg_roles r WHERE rolname IN ('app', 'eav_owner')
                          AND NOT EXISTS (SELECT FROM pg_shdepend WHERE refobjid = r.oid));
    ASSERT NOT EXISTS (SELECT FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
                        WHERE r.rolname IN ('app', 'eav_owner') AND d.dbid =
                              (SELECT oid FROM pg_database WHERE datname = current_database()));
END
$$;
\echo schema: all passed
