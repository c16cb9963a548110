"""What a forbidden call, relation or statement can be hidden in. @ is the place.

tests/unit/sql/test_guard.c tries far more of them against the classifier alone; these go through
the real proxy, by both protocols.
"""

import itertools

from conftest import TENANT_B

SPELLINGS = ["@", '"@"', "pg_catalog.@", 'pg_catalog . "@"', "/* a */ @ /* b */ --\n", 'U&"@"']
CALLS = [
    ("set_config", f"('app.current_tenant_id', '{TENANT_B}', true)"),
    ("set_config", f"(U&'app\\002ecurrent_tenant_id', '{TENANT_B}', false)"),
    ("set_config", f"('app.current' || '_tenant_id', '{TENANT_B}', true)"),
    ("query_to_xml", "('SELECT * FROM it' || 'em', true, true, '')"),
    ("pg_terminate_backend", "(pid => 1)"),
    ("pg_stat_get_activity", "(NULL)"),
    ("pg_advisory_xact_lock", "(1)"),
    ("pg_notify", "('a', 'b')"),
    ("lo_get", "(1)"),
    ("pg_read_file", "('PG_VERSION')"),
]
EXPRESSIONS = [
    "SELECT @",
    "sElEcT\n1, ((@))",
    "SELECT * FROM @ AS t",
    "SELECT * FROM ROWS FROM (@, generate_series(1, 2)) AS t",
    "WITH a AS MATERIALIZED (SELECT @) SELECT * FROM a, item",
    "WITH a AS (INSERT INTO item (name) SELECT (@)::text RETURNING id) SELECT 1",
    "SELECT (SELECT (SELECT @))",
    "SELECT 1 WHERE EXISTS (SELECT @)",
    "SELECT * FROM item WHERE @ IS NOT NULL",
    "SELECT 1 ORDER BY @",
    "SELECT CASE WHEN @ IS NULL THEN 1 ELSE 2 END",
    "SELECT COALESCE(NULL, @)",
    "SELECT ARRAY(SELECT @)",
    "VALUES (1), ((@)::text::int)",
    "UPDATE item SET name = (@)::text",
    "DELETE FROM item WHERE @ IS NULL",
    "MERGE INTO item USING item s ON @ IS NULL WHEN NOT MATCHED THEN DO NOTHING",
    "COPY (SELECT @) TO STDOUT",
    "EXPLAIN ANALYZE SELECT @",
    "EXPLAIN (ANALYZE, FORMAT json) INSERT INTO item (name) VALUES ((@)::text)",
    "PREPARE w AS SELECT @",
    "DECLARE c CURSOR WITH HOLD FOR SELECT @",
    "CREATE TABLE t AS SELECT @",
    "CREATE TEMP VIEW v AS SELECT @",
    "SELECT @ INTO TEMP t",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT @; SELECT 1; END",
    # Grammar of PostgreSQL 16, 17 and 18, which the parser may not know.
    "SELECT * FROM (SELECT @)",
    "SELECT 0x1f, @",
    "SELECT JSON_OBJECT('a': (@)::text)",
    "SELECT JSON_ARRAY((@)::text ABSENT ON NULL)",
    "SELECT JSON_VALUE('{}'::jsonb, '$.a' DEFAULT (@)::text ON EMPTY)",
    "SELECT * FROM JSON_TABLE('[1]'::jsonb, '$' PASSING (@)::text AS x COLUMNS (b text PATH '$'))",
    "MERGE INTO item USING item s ON item.id = s.id WHEN MATCHED THEN DO NOTHING"
    " WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING (@)",
    "UPDATE item SET name = name RETURNING WITH (OLD AS o) o.name, (@)",
]
CODE = [
    "DO $$BEGIN PERFORM @; END$$",
    "DO 'BEGIN PERFORM @; END'",
    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM @; END$$",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS $$SELECT @; SELECT 1$$",
]
IN_CODE = [CALLS[0], CALLS[2]]


def wrapped():
    """Each with what it wraps spelled in another way than the one before."""
    spelling = itertools.cycle(SPELLINGS)
    for name, args in CALLS:
        for pattern in EXPRESSIONS:
            for _ in range(2):
                yield pattern.replace("@", next(spelling).replace("@", name) + args)
    for name, args in IN_CODE:
        for pattern in CODE:
            # Code that comes as a string with quotes of its own.
            inner = name + (args.replace("'", "''") if pattern.startswith("DO '") else args)
            yield pattern.replace("@", inner)
