"""isolation.md rows 6 to 13: what is left on a server connection, what shows other tenants' work
or stops it, and what PostgreSQL keeps outside of rows."""

import os

import psycopg
import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from isolation import attacks
from isolation.scene import WAYS, WHO, is_refused, values

ways = pytest.mark.parametrize("way", WAYS)

# What one leaves behind, and how the next one would meet it.
LEFTOVERS = {
    "temporary table": (
        ["CREATE TEMP TABLE left_over AS SELECT 'mine' AS v"], "SELECT v FROM left_over"),
    "temporary table in the place of a real one": (
        ["CREATE TEMP TABLE item (LIKE public.item)"],
        "SELECT count(*) - 20 FROM item HAVING count(*) <> 20"),
    "temporary view": (
        ["CREATE TEMP VIEW item AS SELECT 1::bigint AS tenant_id"],
        "SELECT count(*) FROM item HAVING count(*) <> 20"),
    "temporary function": (
        ["CREATE FUNCTION pg_temp.left_over() RETURNS text LANGUAGE sql AS 'SELECT ''mine'''"],
        "SELECT pg_temp.left_over()"),
    "temporary sequence": (
        ["CREATE TEMP SEQUENCE left_over", "SELECT nextval('left_over')"],
        "SELECT currval('left_over')"),
    "cursor WITH HOLD": (
        ["BEGIN", "DECLARE left_over CURSOR WITH HOLD FOR SELECT name FROM item", "COMMIT"],
        "FETCH 1 FROM left_over"),
    "SQL PREPARE": (
        ["PREPARE left_over AS SELECT name FROM item"], "EXECUTE left_over"),
    "custom setting": (
        ["SET my.left_over = 'mine'"],
        "SELECT current_setting('my.left_over', true) WHERE current_setting('my.left_over', true)"
        " = 'mine'"),
    "custom setting by function": (
        ["SELECT set_config('my.left_over', 'mine', false)"],
        "SELECT current_setting('my.left_over', true) WHERE current_setting('my.left_over', true)"
        " = 'mine'"),
    "search_path": (
        ["SET search_path = pg_catalog"], "SELECT 1 WHERE to_regclass('item') IS NULL"),
    "statement_timeout": (
        ["SET statement_timeout = '12345ms'"],
        "SELECT 1 WHERE current_setting('statement_timeout') = '12345ms'"),
    "time zone": (
        ["SET TIME ZONE 'Asia/Kathmandu'"],
        "SELECT 1 WHERE current_setting('TimeZone') = 'Asia/Kathmandu'"),
    "default_transaction_read_only": (
        ["SET default_transaction_read_only = on"],
        "SELECT 1 WHERE current_setting('default_transaction_read_only') = 'on'"),
    "lastval": (
        ["CREATE TEMP SEQUENCE left_over", "SELECT nextval('left_over')"], "SELECT lastval()"),
}


@ways
@pytest.mark.parametrize("leave", ["terminate", "close", "DISCARD ALL"])
@pytest.mark.parametrize("name", LEFTOVERS)
@pytest.mark.usefixtures("with_temp")
def test_row_06_nothing_is_left_for_the_next(scene, way, leave, name):
    steps, probe = LEFTOVERS[name]
    assert p.codes_of(scene.try_all(steps, way)) == []
    if leave == "DISCARD ALL":
        assert p.codes_of(scene.try_all([leave], way)) == []
    else:
        getattr(scene.attacker, leave)()
        scene.attacker = scene.login(TENANT_A)
    for conn in (scene.victim, scene.attacker):
        heard = way(conn, probe)
        assert values(heard) == [], heard
        conn.simple("DISCARD ALL")  # who names pg_temp keeps the server
    scene.nothing_crossed()


@ways
@pytest.mark.usefixtures("with_temp")
def test_row_06_one_tenant_after_another_in_one_client(scene, way):
    """The same client becomes the victim by a token of his own: a session of two tenants."""
    scene.try_all(["CREATE TEMP TABLE left_over AS SELECT name FROM item", "DISCARD ALL"], way)
    token = scene.proxy.keys.token(TENANT_B)
    assert p.codes_of(scene.attacker.simple(f"SET usher.token = '{token}'")) == []
    assert p.codes_of(way(scene.attacker, "SELECT * FROM left_over")) == ["42P01"]
    scene.attacker.simple("RESET usher.token")
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", ["DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE PREPARE ALL"])
def test_row_07_the_context_statement_survives(scene, way, sql):
    scene.try_all([sql], way)
    scene.nothing_crossed()


def test_row_07_prepared_names_are_each_clients_own(scene):
    mine = "SELECT 'mine' FROM item LIMIT 1"
    for name in ("s", "context", "usher", "pgusher_context"):
        assert p.codes_of(scene.attacker.run(p.parse(name, mine) + p.sync())) == []
        answer = scene.victim.run(p.bind("", name) + p.execute() + p.sync())
        assert p.codes_of(answer) == ["26000"]
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.STATISTICS)
def test_row_08_others_sql_is_not_shown(scene, way, sql):
    scene.victim.simple(f"SELECT 'tenant {TENANT_B} was here'")
    is_refused(scene.try_all([sql], way))
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.SIGNALS)
def test_row_09_nobody_is_stopped(scene, way, sql):
    pid = scene.victim.scalar("SELECT pg_backend_pid()")
    is_refused(scene.try_all([sql], way))
    assert scene.victim.scalar("SELECT pg_backend_pid()") == pid
    scene.nothing_crossed()


def test_row_09_guessed_cancel_keys(scene):
    """Every key but the right one; and the right one when nothing runs."""
    victim = scene.victim
    for secret in (b"\0\0\0\0", os.urandom(4), scene.attacker.secret):
        p.send_cancel(victim.address, victim.pid, secret)
    victim.cancel()
    assert values(victim.simple("SELECT count(*) FROM item")) == ["20"]
    scene.nothing_crossed()


@ways
def test_row_10_advisory_locks_of_others_are_out_of_reach(scene, way):
    """Whatever the proxy does with the attacker's lock, the victim takes the same key at once."""
    for steps in (["SELECT pg_advisory_lock(4711)"],
                  ["BEGIN", "SELECT pg_advisory_xact_lock(4711)"],
                  ["SELECT pg_try_advisory_lock(47, 11)"]):
        scene.try_all(steps, way)
        scene.end_transaction()
        scene.try_all(["SELECT pg_advisory_unlock_all()"], way)
    is_refused(scene.try_all(["SELECT pg_advisory_lock(4711)"], way))
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.CHANNELS)
def test_row_11_channels(scene, way, sql):
    is_refused(scene.try_all([sql], way))
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.TWO_PHASE)
def test_row_12_two_phase_transactions(scene, way, sql):
    if sql.startswith("PREPARE"):
        scene.try_all(["BEGIN", f"SELECT 1; {WHO}"], WAYS[0])
    is_refused(way(scene.attacker, sql))
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.FILES)
def test_row_13_large_objects_files_and_programs(scene, way, sql):
    is_refused(scene.try_all([sql], way))
    scene.nothing_crossed()


# ---- past PgUsher -------------------------------------------------------------------------


@pytest.mark.parametrize("sql", attacks.STATISTICS + attacks.SIGNALS + attacks.FILES)
def test_rows_08_09_and_13_the_database_refuses_too(stage, sql):
    with stage.direct(TENANT_A) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(sql)


@pytest.mark.parametrize("kind", ["TABLE t (a int)", "SEQUENCE s"])
def test_row_06_the_database_has_no_temporary_tables_for_tenants(stage, kind):
    with stage.direct(TENANT_A) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"CREATE TEMP {kind}")
