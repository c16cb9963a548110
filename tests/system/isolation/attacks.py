"""The attacks that are plain lists of statements, row by row."""

from conftest import TENANT_A, TENANT_B

B = TENANT_B

# Row 1: the tenant setting, or its proof, in every spelling.
SETTING = [
    f"SET app.current_tenant_id = '{B}'",
    f"SET LOCAL app.current_tenant_id TO {B}",
    f"SET SESSION app.current_tenant_id = {B}",
    f'SET "app"."current_tenant_id" = {B}',
    f"set APP.Current_Tenant_ID = {B}",
    f'SET U&"\\0061pp".U&"current\\005ftenant_id" = {B}',
    f'SET LOCAL U&"app!002ecurrent_tenant_id" UESCAPE \'!\' = {B}',
    f"/* x */ SET /* y */ app.current_tenant_id -- z\n = {B}",
    "SET app.current_tenant_id TO DEFAULT",
    "RESET app.current_tenant_id",
    f"SELECT set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT set_config('app.current_tenant_id', '{B}', false)",
    f"SELECT pg_catalog.set_config('APP.current_tenant_id', '{B}', true)",
    f"SELECT \"set_config\"('app.' || 'current_tenant_id', '{B}', true)",
    f"SELECT set_config(E'app.current_ten\\x61nt_id', '{B}', true)",
    f"SELECT set_config(U&'app\\002ecurrent_tenant_id', '{B}', true)",
    f"SELECT set_config($q$app.current_tenant_id$q$, '{B}', true)",
    f"SELECT set_config(setting_name => 'app.current_tenant_id', new_value => '{B}',"
    " is_local => true)",
    f"SELECT set_config(VARIADIC ARRAY['app.current_tenant_id', '{B}', 'true'])",
    f"WITH x AS MATERIALIZED (SELECT set_config('app.current_tenant_id', '{B}', true))"
    " SELECT * FROM x, item",
    f"SELECT * FROM item WHERE set_config('app.current_tenant_id', '{B}', true) IS NOT NULL",
    f"INSERT INTO item VALUES (900, {B}, set_config('app.current_tenant_id', '{B}', true), 1)",
    f"EXPLAIN ANALYZE SELECT set_config('app.current_tenant_id', '{B}', true)",
    f"PREPARE spoof AS SELECT set_config('app.current_tenant_id', '{B}', true)",
    f"COPY (SELECT set_config('app.current_tenant_id', '{B}', true)) TO STDOUT",
    f"DECLARE c CURSOR FOR SELECT set_config('app.current_tenant_id', '{B}', true)",
    f"CREATE TEMP TABLE t AS SELECT set_config('app.current_tenant_id', '{B}', true)",
    f"UPDATE pg_settings SET setting = '{B}' WHERE name = 'app.current_tenant_id'",
    f"ALTER ROLE app SET app.current_tenant_id = {B}",
    f"ALTER DATABASE eav SET app.current_tenant_id = {B}",
    f"CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql SET app.current_tenant_id = {B}"
    " AS 'SELECT count(*) FROM item'",
    f"ALTER FUNCTION planted_switch(bigint) SET app.current_tenant_id = {B}",
    "SET app.tenant_proof = 'ab'",
    "SELECT set_config('app.tenant_proof', 'ab', true)",
]

# Row 2: the same, built at run time. planted_* were there before; the guard cannot see into them.
RUN_TIME = [
    f"DO $$ BEGIN PERFORM set_config('app.current_tenant_id', '{B}', true); END $$",
    f"DO $$ BEGIN EXECUTE 'SET LOCAL app.current_' || 'tenant_id = {B}'; END $$",
    f"DO 'BEGIN EXECUTE ''SET LOCAL app.current_''||''tenant_id = {B}''; END'",
    "CREATE FUNCTION pg_temp.f(t text) RETURNS void LANGUAGE plpgsql AS"
    " 'BEGIN EXECUTE t; END'",
    f"SELECT query_to_xml('SELECT set_config(''app.current_tenant_id'', ''{B}'', true)',"
    " true, true, '')",
    f"SELECT query_to_xml('SELECT set_' || 'config(''app.current_tenant_id'', ''{B}'', true)',"
    " true, true, '')",
    "SELECT query_to_xmlschema('SELECT ' || 'name FROM item', true, true, '')",
    "SELECT table_to_xml(('it' || 'em')::regclass, true, true, '')"
    f" FROM (SELECT set_config('app.current_tenant_id', '{B}', true)) s",
    "SELECT ts_stat('SELECT to_tsvector(set_' || 'config(''app.current_tenant_id'',"
    f" ''{B}'', true))')",
    f"SELECT cursor_to_xml('c', 1, true, true, '') FROM set_config('app.current_tenant_id',"
    f" '{B}', true)",
]
PLANTED = [
    f"SELECT planted_run('SET LOCAL app.current_tenant_id = {B}')",
    f"SELECT planted_switch({B})",
    f"SELECT * FROM planted_switch({B}), item",
    f"SELECT item.* FROM item, planted_switch({B})",
    f"SELECT item.* FROM item WHERE planted_switch({B}) IS NOT NULL",
    f"WITH s AS MATERIALIZED (SELECT planted_switch({B})) SELECT item.* FROM s, item",
    f"SELECT item.*, planted_switch({B}) FROM item UNION ALL SELECT *, 1 FROM item",
    # The planner must not let the query's own comparison stand in for the policy's.
    f"SELECT item.*, planted_run('SET LOCAL my.tenant = {B}')"
    f" FROM (VALUES ({TENANT_A}::bigint), ({B})) AS other (y)"
    " JOIN item ON current_setting('my.tenant', true)::bigint = item.tenant_id"
    " WHERE current_setting('my.tenant', true)::bigint = other.y",
    f"UPDATE item SET name = 'taken', n = planted_switch({B})",
    f"INSERT INTO item SELECT 4712, {B}, 'planted', planted_switch({B})",
    "SELECT planted_loot()",
    "SELECT * FROM planted_names()",
    "SELECT l FROM planted_loot() l, item",
    "SELECT planted_run($$UPDATE item SET name = 'taken'$$)"
    f" FROM (SELECT planted_switch({B}) OFFSET 0) s",
]

# Row 5: roles and what switches row-level security off. The first list PostgreSQL allows to
# anybody: row_security = off makes an error of what would be filtered.
SWITCHES = [
    "SET row_security = off",
    "SELECT set_config('row_security', 'off', true)",
    "SET row_security TO 0",
]
ROLES = [
    "SET ROLE postgres",
    "SET LOCAL ROLE eav_owner",
    "SET SESSION AUTHORIZATION postgres",
    "SELECT set_config('role', 'eav_owner', true)",
    "SET session_replication_role = replica",
    "ALTER TABLE item DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE item NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY tenant_isolation ON item",
    "CREATE POLICY p ON item USING (true)",
    "GRANT eav_owner TO app",
    "CREATE ROLE mallory SUPERUSER",
    "CREATE FUNCTION public.count_items() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    "CREATE TABLE public.item2 (id int)",
    "CREATE SCHEMA mallory",
]

# Row 8: others' SQL.
STATISTICS = [
    "SELECT query FROM pg_stat_activity",
    "SELECT query FROM pg_catalog.pg_stat_activity",
    'SELECT query FROM "pg_stat_activity"',
    "SELECT pg_stat_get_activity(NULL)",
    "SELECT * FROM pg_stat_get_backend_activity(1)",
    "TABLE pg_stat_activity",
    "SELECT * FROM pg_prepared_statements",
    "SELECT pg_prepared_statement()",
    "SELECT * FROM pg_cursors",
    "SELECT * FROM extensions.pg_stat_statements",
]

# Row 9: stopping others.
SIGNALS = [
    "SELECT pg_cancel_backend(pid) FROM generate_series(1, 40000) pid",
    "SELECT pg_terminate_backend(pid) FROM generate_series(1, 40000) pid",
    "SELECT pg_catalog.pg_terminate_backend(pg_backend_pid() + 1)",
    "SELECT * FROM pg_cancel_backend(1)",
]

# Row 11 and 12: channels and two-phase transactions know no tenant.
CHANNELS = ["LISTEN news", "NOTIFY news, 'x'", "SELECT pg_notify('news', 'x')"]
TWO_PHASE = ["PREPARE TRANSACTION 'mine'", "COMMIT PREPARED 'theirs'",
             "ROLLBACK PREPARED 'theirs'"]

# Row 13: large objects, files and programs.
FILES = [
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_get(1)",
    "SELECT lo_open(1, 131072)",
    "SELECT lo_unlink(1)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT data FROM pg_largeobject",
    "COPY item TO '/tmp/out'",
    "COPY item FROM '/etc/passwd'",
    "COPY item FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('PG_VERSION')",
    "CREATE EXTENSION file_fdw",
    "CREATE FOREIGN DATA WRAPPER mine",
]

# Row 14: functions of the schema that take a tenant, or work on all. The guard lets them be
# called: the database refuses.
DEFINERS = [
    f"SELECT upsert_hot_attrs({B}, entity_id, '{{\"stolen\": 1}}') FROM entity_jsonb",
    f"SELECT upsert_hot_attrs({B}, 2001, '{{\"stolen\": 1}}')",
    "SELECT upsert_hot_attrs(NULL, 2001, '{\"stolen\": 1}')",
    f"SELECT * FROM find_entities_by_attributes({B}, '{{\"firmware\": \"2.0\"}}')",
    "SELECT * FROM find_entities_by_attributes(NULL, '{\"firmware\": \"2.0\"}')",
    "SELECT stage_flush()",
    "SELECT stage_flush(1)",
    "SELECT refresh_entity_attribute_stats()",
    "SELECT entity_values_maintain()",
    "SELECT entity_values_make_partitions()",
    "SELECT entity_values_close_partitions()",
]
# Row 15: relations that row-level security does not reach.
RELATIONS = [
    "SELECT * FROM entity_values_ingest",
    "DELETE FROM entity_values_ingest",
    "TRUNCATE entity_values_ingest",
    "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id)"
    f" VALUES ({B}, 1, 42)",
    "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id)"
    f" VALUES ({TENANT_A}, 1, 42) RETURNING tenant_id",
    "SELECT * FROM mv_entity_attribute_stats",
    "REFRESH MATERIALIZED VIEW mv_entity_attribute_stats",
    "SELECT * FROM entities_p000",
    "COPY entities_p000 TO STDOUT",
    "INSERT INTO entities_p000 (entity_id, tenant_id) VALUES (77, 456)",
    "TRUNCATE entities",
    "SELECT * FROM replication_heartbeat",
    "CREATE TABLE public.child () INHERITS (item)",
]

# Row 20: where a lexer that reads differently from the server's would be led astray.
LEXER = [
    "SET standard_conforming_strings = off",
    "SET escape_string_warning = off; SET standard_conforming_strings TO 'off'",
    "SET client_encoding = 'SJIS'",
    "SET NAMES 'GBK'",
    "SET client_encoding TO BIG5",
    f"SELECT '/*', set_config('app.current_tenant_id', '{B}', true) --*/'",
    f"SELECT $a$ $b$ $a$, set_config('app.current_tenant_id', '{B}', true) -- $b$",
    f"/* /* */ SELECT '*/', set_config('app.current_tenant_id', '{B}', true) --",
    f"/* /* nested */ */ SET app.current_tenant_id = {B}",
    f"SELECT E'\\'', set_config('app.current_tenant_id', '{B}', true) --'",
    f"SELECT 'a'\n'b', set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT 'a' -- '\n, set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT U&'d!0061' UESCAPE '!', set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT $1$x$1$, set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT 1 +/**/ 1, set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT 1 -- \r, 2\n, set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT\u00a0set_config('app.current_tenant_id', '{B}', true)",
    f"SELECT ST\u00e9, set_config('app.current_tenant_id', '{B}', true)",
]
