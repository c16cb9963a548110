"""Attacks that once worked: code that sets the tenant, under another name or where it is not seen."""

import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from test_attacks import WHO, found_clean, is_refused

pytestmark = pytest.mark.usefixtures("items")

# SQL that sets the tenant, as a constant in a text; with a run-time name where texts are searched.
PAYLOAD = f"select to_tsvector(set_config(''app.current_tenant_id'',''{TENANT_B}'',true))"
RUNNER = "CREATE FUNCTION pg_temp.f(t text) RETURNS void LANGUAGE plpgsql AS 'begin execute t; end'"
RUN = f"SELECT pg_temp.f('SET LOCAL app.current_'||'tenant_id TO {TENANT_B}')"
PADDING = "/*" + "x" * 140_000 + "*/"
NESTED = "SELECT " + "(" * 510 + "1" + ")" * 510 + " AS a, '" + "y" * 8000 + "'"
SET_SCS_OFF = "UPDATE v SET setting = 'off' WHERE name = 'standard_conforming_strings'"


def liar(type_name, returns):
    """A type whose cast to text returns what it likes, and which comes before PostgreSQL's."""
    return [
        f"CREATE TYPE pg_temp.{type_name} AS (q int)",
        f"CREATE FUNCTION pg_temp.f(pg_temp.{type_name}) RETURNS pg_catalog.text LANGUAGE sql"
        f" IMMUTABLE AS $$ select ({returns})::pg_catalog.text $$",
        f"CREATE CAST (pg_temp.{type_name} AS pg_catalog.text)"
        f" WITH FUNCTION pg_temp.f(pg_temp.{type_name}) AS IMPLICIT",
    ]


LIAR = "'app.current' || '_tenant_id'"
SQL_LIAR = f"'select set_' || 'config(''app.current' || '_tenant_id'',''{TENANT_B}'',true)'"


@pytest.mark.parametrize(
    "steps",
    [
        [f"SELECT ('{PAYLOAD}'::text).ts_stat"],
        [f"SELECT x.ts_stat FROM unnest(array['{PAYLOAD}']) AS x"],
        ["CREATE TEMP TABLE q AS SELECT 'select to_tsvector(set_' ||"
         f" 'config(''app.current_tenant_id'',''{TENANT_B}'',true))' AS q",
         "SELECT (q.q).ts_stat FROM q"],
        ["CREATE OPERATOR pg_temp.@@@@ (function = ts_stat, rightarg = text)",
         f"SELECT OPERATOR(pg_temp.@@@@) '{PAYLOAD}'::text"],
        liar("text", LIAR) + [f"SELECT set_config('(1)'::pg_temp.text, '{TENANT_B}', true)"],
        liar("text", LIAR) + [f"SELECT set_config('(1)'::text, '{TENANT_B}', true)"],
        liar("text", LIAR) + [f"SELECT pg_catalog.set_config(text '(1)', '{TENANT_B}', true)"],
        liar("varchar", LIAR) + [f"SELECT set_config('(1)'::pg_temp.varchar,'{TENANT_B}',true)"],
        liar("text", SQL_LIAR) + ["SELECT query_to_xml('(1)'::pg_temp.text, true, true, '')"],
        [f"{RUNNER} {PADDING}", RUN],
        [f"{RUNNER}; {NESTED}", RUN],
        [RUNNER.replace("FUNCTION", "PROCEDURE").replace("RETURNS void ", "") + f"; {NESTED}",
         RUN.replace("SELECT", "CALL")],
        ["DO $$ begin create function pg_temp.f(t text) returns void language plpgsql as"
         " 'begin exe'\n'cute t; end'; end $$", RUN],
        ["DO $$ begin create function pg_temp.f(t text) returns void language plpgsql as"
         " E'begin ex\\ecute t; end'; end $$", RUN],
        ["CREATE FUNCTION pg_temp.g() RETURNS void LANGUAGE sql AS $$ create function"
         " pg_temp.f(t text) returns void language plpgsql as E'begin ex\\ecute t; end' $$",
         "SELECT pg_temp.g()", RUN],
        [f"DO 'begin set local app.current_' -- two literals to libpg_query, one to the server\n"
         f" 'tenant_id = {TENANT_B}; end'"],
        ["CREATE FUNCTION pg_temp.f(t text) RETURNS void LANGUAGE plpgsql AS 'begin exe' -- \n"
         "'cute t; end'", RUN],
        ["DO $$ begin create temp view v as select * from pg_settings; end $$", SET_SCS_OFF],
        [f"CREATE TEMP VIEW v AS SELECT * FROM pg_settings; {NESTED}", SET_SCS_OFF],
        [f"CREATE TEMP VIEW v AS SELECT * FROM pg_settings {PADDING}", SET_SCS_OFF],
    ],
    ids=lambda steps: steps[-1][:40],
)
def test_code_under_another_name_is_refused(tiny_proxy, steps):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        for sql in steps:
            messages = conn.simple(sql)
            if p.errors_of(messages):
                break
        is_refused(messages)
        conn.simple("ROLLBACK")
        assert conn.rows(WHO) == [(str(TENANT_A),)]
    found_clean(tiny_proxy)


@pytest.mark.parametrize("sql", ["SELECT (4711::bigint).pg_advisory_lock",
                                 "SELECT (x.k).pg_try_advisory_lock FROM (SELECT 4711::bigint k) x"])
def test_advisory_lock_taken_as_a_field_does_not_stay(tiny_proxy, sql):
    with tiny_proxy.raw(TENANT_A) as conn:
        assert not p.errors_of(conn.simple(sql))
    with tiny_proxy.raw(TENANT_B) as other:
        assert other.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT 'é' 1; SELEC 1", "CREATE TABEL t (a int)",
                                 "SELECT 1a; SELECT 2", "SELECT 'open; SELECT 2"])
def test_syntax_errors_are_told_in_postgres_words(proxy, cluster, sql):
    """Though PgUsher says it itself: what it cannot parse might make something on the server."""
    address = ("127.0.0.1", cluster.ports["primary"])
    with proxy.raw(TENANT_A) as conn, p.Connection.connect(
            address, "app", "eav", cluster.password) as direct:
        for ask in (p.query(sql), p.parse("", sql) + p.sync(), p.query(f"BEGIN; {sql}")):
            mine, theirs = p.errors_of(conn.run(ask)), p.errors_of(direct.run(ask))
            assert len(mine) == len(theirs) == 1
            for field in "SCMP":
                assert mine[0][field] == theirs[0][field]
        for step in ("BEGIN", sql, "SELECT 1"):
            assert p.codes_of(conn.simple(step)) == p.codes_of(direct.simple(step))


def test_statements_that_kept_a_worker_busy(tiny_proxy):
    """Thirteen and thirty seconds of it, once."""
    nested = "set_config('a.b'," * 400 + "ARRAY[a" + ",a" * 50_000 + "]" + ",true)" * 400
    with tiny_proxy.raw(TENANT_A) as conn:
        assert p.codes_of(conn.simple(f"SELECT {nested}")) == ["54001"]
        assert p.codes_of(conn.simple("SHOW a;" * 149_000)) == ["42704"]
        assert conn.scalar("SELECT 1") == "1"
