-- pgTAP tests of sql/: attributes, values, staging, statistics, heartbeat, and hardening. Run by
-- psql as a superuser, in an empty database of a THROW-AWAY cluster (roles are changed):
--
--   createdb values_test && psql -X -At -d values_test -f tests/sql/test_values.sql
--
-- "row N" is a row of the isolation matrix.

\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\set entity_partitions 2
\set jsonb_partitions 2
\set history_months 2
\ir ../../sql/deploy.sql
\ir ../../sql/hardening.sql
\ir ../../sql/demo_seed.sql
\ir ../../sql/deploy.sql
\ir ../../sql/hardening.sql

CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
SET search_path = public, tap;

-- Runs sql as a role with a tenant ('' for none): its value, or how many rows it touched. pgTAP
-- keeps its books in the caller's temporary tables, so only this part runs as the role.
CREATE FUNCTION pg_temp.as_role(role text, tenant text, sql text) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    value text;
    n bigint;
BEGIN
    PERFORM set_config('app.current_tenant_id', tenant, true), set_config('role', role, true);
    IF sql ~* '^(insert|update|delete)' THEN
        EXECUTE sql;
        GET DIAGNOSTICS n = ROW_COUNT;
        value := n;
    ELSE
        EXECUTE sql INTO value;
    END IF;
    PERFORM set_config('role', 'none', true), set_config('app.current_tenant_id', '', true);
    RETURN value;
END
$$;
CREATE FUNCTION pg_temp.gives(role text, tenant text, sql text, wanted text, what text)
    RETURNS text LANGUAGE sql AS $$ SELECT is(pg_temp.as_role(role, tenant, sql), wanted, what) $$;
CREATE FUNCTION pg_temp.refuses(role text, tenant text, sql text, state char(5), what text)
    RETURNS text LANGUAGE sql AS $$
    SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L, %L)', role, tenant, sql), state, NULL,
                     what)
$$;

SELECT no_plan();

-- What there is.
SELECT columns_are('public', 'attributes', '{attribute_id,attribute_name,data_type,is_indexed,is_hot,
    validation_regex,created_at,updated_at}'::name[]);
SELECT columns_are('public', t, '{entity_id,tenant_id,attribute_id,value,value_int,value_decimal,
    value_bool,value_date,value_timestamp,ingested_at,created_at}'::name[])
  FROM unnest('{entity_values_ts,entity_values_ingest}'::name[]) t;
SELECT columns_are('public', 'mv_entity_attribute_stats', '{tenant_id,attribute_id,attribute_name,
    distinct_entities,total_values,oldest,newest}'::name[]);
SELECT columns_are('public', 'replication_heartbeat', '{id,timestamp,source}'::name[]);
SELECT col_is_pk('public', 'entity_values_ts',
                 '{tenant_id,entity_id,attribute_id,ingested_at}'::name[], 'the key of values');
SELECT col_type_is('public', 'entity_values_ts', 'value_decimal',
                   'numeric(20,5)', 'decimals');
SELECT index_is_type('public', 'entity_values_ts', 'entity_values_ts_ingested_idx', 'brin');
SELECT indexes_are('public', 'entity_values_ts', '{entity_values_ts_pkey,
    entity_values_ts_ingested_idx,entity_values_ts_attribute_idx}'::name[]);
SELECT indexes_are('public', 'attributes',
                   '{attributes_pkey,attributes_name_idx,attributes_hot_idx}'::name[]);
SELECT is(relpersistence::text, 'u', 'the staging table is unlogged')
  FROM pg_class WHERE oid = 'public.entity_values_ingest'::regclass;
SELECT is_empty('SELECT FROM pg_index WHERE indrelid = ''public.entity_values_ingest''::regclass',
                'and without indexes');
SELECT index_is_unique('public', 'mv_entity_attribute_stats', 'mv_entity_attribute_stats_key');
SELECT has_extension(e) FROM unnest('{pg_partman,pg_stat_statements,btree_gin,pgcrypto}'::name[]) e;
SELECT throws_ok($$INSERT INTO attributes VALUES (1, 'a', 'blob')$$, '23514', NULL, 'data types');

-- Partitions: two months back, this one, four ahead, and the default.
CREATE TEMP VIEW part AS
SELECT c.* FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'public.entity_values_ts'::regclass;
SELECT is(count(*), 8::bigint, 'monthly partitions') FROM part;
SELECT ok(bool_and(relowner = 'eav_owner'::regrole AND relrowsecurity AND relforcerowsecurity
                   AND NOT has_table_privilege('app', oid, 'SELECT, INSERT, UPDATE, DELETE')
                   AND reloptions @> '{autovacuum_vacuum_threshold=50000}'),
          'partitions are the owner''s, closed and tuned (row 15)') FROM part;
UPDATE partman.part_config SET premake = 6 WHERE parent_table = 'public.entity_values_ts';
SELECT pg_temp.gives('service', '', 'SELECT entity_values_maintain()', '', 'more months are made');
SELECT is(current_setting('search_path'), 'public, tap', 'and search_path is as it was');
SELECT cmp_ok(count(*), '>=', 10::bigint, 'by the service role') FROM part;
SELECT ok(bool_and(relowner = 'eav_owner'::regrole AND relrowsecurity AND relforcerowsecurity
                   AND NOT has_table_privilege('app', oid, 'SELECT, INSERT, UPDATE, DELETE')
                   AND reloptions @> '{autovacuum_vacuum_threshold=50000}'),
          'new partitions as well (row 15)') FROM part;

-- A tenant and its values.
SELECT pg_temp.gives('app', '123', 'SELECT count(*) FROM entity_values_ts', '45', 'own values');
SELECT pg_temp.gives('app', '', 'SELECT count(*) FROM entity_values_ts', '0',
                     'no context, no values (row 16)');
SELECT pg_temp.gives('app', '123', 'DELETE FROM entity_values_ts WHERE tenant_id = 456', '0',
                     'no deleting of others');
SELECT pg_temp.refuses('app', '123', 'INSERT INTO entity_values_ts (entity_id, tenant_id,
    attribute_id, ingested_at) VALUES (1, 456, 42, now())', '42501', 'no writing for others');
SELECT pg_temp.refuses('app', '123', format('SELECT count(*) FROM %I', relname), '42501',
                       relname || ' is not addressable (row 15)') FROM part;
SELECT pg_temp.refuses('app', '123', s, '42501', s) FROM unnest(ARRAY[
    'INSERT INTO attributes VALUES (1, ''x'')', 'UPDATE attributes SET is_hot = true',
    'DELETE FROM attributes', 'SELECT id FROM replication_heartbeat',
    'SELECT stage_flush()', 'SELECT refresh_entity_attribute_stats()',
    'SELECT entity_values_maintain()', 'SELECT entity_values_make_partitions()',
    'SELECT entity_values_close_partitions()', 'SELECT count(*) FROM partman.part_config']) s;
SELECT pg_temp.gives('app', '123', 'SELECT attribute_name FROM attributes WHERE attribute_id = 42',
                     'firmware', 'attributes are read by all');

SELECT pg_temp.gives('app', '123', $$SELECT array_agg(f ORDER BY f)
    FROM find_entities_by_attributes(123, '{"firmware": "2.0", "temperature": 24}') f$$,
    '{1002}', 'find: the newest values of both');
SELECT pg_temp.gives('app', '123', $$SELECT count(*)
    FROM find_entities_by_attributes(123, '{"firmware": "2.1"}')$$, '0', 'find: not older ones');
SELECT pg_temp.gives('app', '123', $$SELECT count(*)
    FROM find_entities_by_attributes(123, '{"firmware": "2.0", "no such": 1}')$$, '0',
    'find: every attribute');
SELECT pg_temp.refuses('app', '123',
    $$SELECT find_entities_by_attributes(456, '{"firmware": "2.0"}')$$, '42501',
    'find: of another tenant (row 14)');
SELECT pg_temp.refuses('app', '', $$SELECT find_entities_by_attributes(NULL, '{"a": 1}')$$, '42501',
                       'find: of none (row 14)');
SELECT pg_temp.refuses('app', '123', $$SELECT find_entities_by_attributes(123, '[]')$$, '22023',
                       'find: filters are an object');

-- Staging (row 15) and stage_flush (row 14).
SELECT pg_temp.gives('app', '123', 'INSERT INTO entity_values_ingest (entity_id, tenant_id,
    attribute_id, value, ingested_at) SELECT 1001, 123, 42, n, now() + n * interval ''1 s''
    FROM generate_series(1, 10) n', '10', 'a tenant stages its own');
SELECT pg_temp.refuses('app', '123', s, '42501', s) FROM unnest(ARRAY[
    'INSERT INTO entity_values_ingest (entity_id, tenant_id, attribute_id) VALUES (1, 456, 42)',
    'SELECT count(*) FROM entity_values_ingest',
    'UPDATE entity_values_ingest SET value = ''x''',
    'DELETE FROM entity_values_ingest',
    'INSERT INTO entity_values_ingest (entity_id, tenant_id, attribute_id)
        VALUES (1, 123, 42) RETURNING tenant_id']) s;
SELECT pg_temp.refuses('app', '', 'INSERT INTO entity_values_ingest (entity_id, tenant_id,
    attribute_id) VALUES (1, 123, 42)', '42501', 'nothing is staged without a context');
SELECT pg_temp.refuses('app', '', 'INSERT INTO entity_values_ingest (entity_id, attribute_id)
    VALUES (1, 42)', '23502', 'nor without a tenant');
SELECT pg_temp.refuses('app', '123', format('INSERT INTO %I (entity_id, tenant_id, attribute_id,
    ingested_at) VALUES (1, 123, 42, now() + interval ''2 days'')', t), '23514',
    'the future is refused in ' || t) FROM unnest('{entity_values_ingest,entity_values_ts}'::text[]) t;
INSERT INTO attributes (attribute_id, attribute_name) VALUES (43, 'old');
SELECT pg_temp.gives('app', '456', 'INSERT INTO entity_values_ingest (entity_id, tenant_id,
    attribute_id, value, ingested_at) VALUES (2001, 456, 43, ''a'', ''-infinity''),
    (2001, 456, 43, ''b'', ''-infinity'')', '2', 'one value twice, and before all months');
SELECT pg_temp.refuses('service', '', 'SELECT stage_flush(0)', '22023', 'a limit is positive');
SELECT pg_temp.gives('service', '', 'SELECT stage_flush(2)', '2', 'the oldest first');
SELECT pg_temp.gives('app', '456', 'SELECT string_agg(value, '','') FROM entity_values_ts
    WHERE attribute_id = 43', 'a', 'of one value twice the first stays');
SELECT pg_temp.gives('service', '', 'SELECT stage_flush()', '10', 'and the rest');
SELECT pg_temp.gives('service', '', 'SELECT stage_flush()', '0', 'and nothing more');
SELECT pg_temp.gives('app', '123', 'SELECT count(*) FROM entity_values_ts', '55', 'they arrived');
SELECT is(count(*), 0::bigint, 'and left') FROM entity_values_ingest;
SELECT pg_temp.refuses('service', '', 'SELECT count(*) FROM ' || t, '42501', 'service cannot read ' || t)
  FROM unnest('{tenants,entities,entity_jsonb,entity_values_ts,entity_values_ingest,
                mv_entity_attribute_stats}'::text[]) t;
SET session_replication_role = replica;
SELECT pg_temp.refuses('app', '123', 'INSERT INTO entity_values_ingest (entity_id, tenant_id,
    attribute_id) VALUES (1, 456, 42)', '42501', 'the trigger fires ALWAYS');
RESET session_replication_role;

-- Statistics (row 15).
SELECT pg_temp.gives('service', '', 'SELECT refresh_entity_attribute_stats()', '', 'a refresh');
SELECT pg_temp.gives('app', '123', 'SELECT total_values FROM entity_attribute_stats
    WHERE attribute_id = 42', '25', 'counts what is there now');
SELECT pg_temp.gives('app', '456', 'SELECT count(DISTINCT tenant_id) FROM entity_attribute_stats',
                     '1', 'a tenant sees its own');
SELECT pg_temp.gives('app', '', 'SELECT count(*) FROM entity_attribute_stats', '0', 'no context, none');
SELECT pg_temp.refuses('app', '123', 'SELECT count(*) FROM mv_entity_attribute_stats', '42501',
                       'not past the view');
-- The first row's set_config would let the second join run with 456, were the query's comparison
-- to stand in for the view's.
SET my.tenant = '123';
SELECT pg_temp.gives('app', '123', $$SELECT count(*) FILTER (WHERE tenant_id <> 123) FROM (
    SELECT e.tenant_id, set_config('my.tenant', '456', true)
      FROM (VALUES (123::bigint), (456)) AS other (y)
      JOIN entity_attribute_stats e ON current_setting('my.tenant')::bigint = e.tenant_id
     WHERE current_setting('my.tenant')::bigint = other.y) s$$, '0',
    'a comparison of the query''s own does not stand in for the view''s');

-- The probe's heartbeat and directory, and nothing else.
CREATE FUNCTION pg_temp.beat() RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.as_role('probe', '', 'INSERT INTO replication_heartbeat AS h (source)
        VALUES (''pgusher'') ON CONFLICT (source) DO UPDATE
        SET id = nextval(''replication_heartbeat_id_seq''), "timestamp" = clock_timestamp()
        RETURNING id')
$$;
SELECT ok(pg_temp.beat() IS NOT NULL AND pg_temp.beat() IS NOT NULL, 'two beats');
SELECT is(count(*), 1::bigint, 'one row') FROM replication_heartbeat;
SELECT cmp_ok(max(id), '>', 1, 'with a rising number') FROM replication_heartbeat;
SELECT pg_temp.gives('probe', '', 'SELECT string_agg(tenant_id || '' '' || is_active, '','' ORDER BY
    tenant_id) FROM tenants', '123 true,456 true', 'the directory');
SELECT pg_temp.refuses('probe', '', s, '42501', s) FROM unnest(ARRAY[
    'SELECT tenant_name FROM tenants', 'UPDATE tenants SET is_active = false',
    'DELETE FROM replication_heartbeat', 'SELECT count(*) FROM entities',
    'SELECT count(*) FROM entity_values_ts', 'SELECT stage_flush()']) s;

-- Nobody becomes the batch role, and it is held by the policies of the other tables.
SELECT is_empty('SELECT FROM pg_auth_members WHERE roleid::regrole::text ~ ''^(eav_|app|service|probe)''
    OR member::regrole::text ~ ''^(eav_|app|service|probe)''', 'no memberships');
SELECT pg_temp.refuses('eav_batch', '', 'SELECT count(*) FROM entities', '42501',
                       'the batch role reads no entities');
SELECT pg_temp.gives('eav_owner', '', 'SELECT count(*) FROM entity_values_ts', '0',
                     'the owner is under the policies (row 5)');

-- Hardening: the same calls worked before it.
SELECT pg_temp.refuses('app', '123', s, '42501', s) FROM unnest(ARRAY[
    'SELECT count(*) FROM pg_stat_activity', 'SELECT count(*) FROM pg_stat_get_activity(NULL)',
    'SELECT count(*) FROM pg_prepared_statements', 'SELECT count(*) FROM pg_cursors',
    'SELECT count(*) FROM pg_locks', 'SELECT count(*) FROM pg_prepared_xacts',
    'SELECT count(*) FROM extensions.pg_stat_statements',
    'SELECT pg_cancel_backend(0)', 'SELECT pg_terminate_backend(0)',
    'SELECT lo_creat(-1)', 'SELECT lo_from_bytea(0, ''x'')', 'SELECT lo_import(''/etc/passwd'')',
    'SELECT pg_read_file(''/etc/passwd'')', 'SELECT pg_ls_dir(''.'')',
    'SELECT query_to_xml(''SELECT 1'', true, true, '''')', 'SELECT ts_stat(''SELECT 1'')',
    'SELECT database_to_xml(true, true, '''')',
    'SELECT ts_rewrite(''a''::tsquery, ''SELECT 1'')',
    'CREATE TEMP TABLE mine ()', 'DO $do$ BEGIN END $do$',
    'CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''']) s;
SELECT ok(has_function_privilege('pg_monitor', 'pg_stat_get_activity(integer)', 'EXECUTE')
          AND has_function_privilege('pg_signal_backend', 'pg_cancel_backend(integer)', 'EXECUTE'),
          'PostgreSQL''s own roles keep their purpose');

SELECT * FROM finish();
