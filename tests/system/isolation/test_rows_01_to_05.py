"""isolation.md rows 1 to 5: ways to become another tenant."""

import psycopg
import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from isolation import attacks
from isolation.scene import CONTEXT, LOOTS, WAYS, WHO, by_query, is_refused, values

ways = pytest.mark.parametrize("way", WAYS)


def carry_out(scene, way, sql):
    """Outside a transaction, then inside one that has seen data, which fails."""
    is_refused(scene.try_all([sql], way))
    scene.attacker.simple("BEGIN")
    assert set(values(scene.attacker.simple(WHO))) == {str(TENANT_A)}
    is_refused(scene.try_all([sql], way))
    assert scene.attacker.status == "E"
    assert p.codes_of(scene.attacker.simple(WHO)) == ["25P02"]
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.SETTING)
def test_row_01_the_setting_is_not_for_clients(scene, way, sql):
    carry_out(scene, way, sql)


@ways
@pytest.mark.parametrize("end", ["RESET ALL", "DISCARD ALL"])
def test_row_01_reset_takes_the_clients_own_settings_only(scene, way, end):
    assert p.codes_of(scene.try_all(["SET application_name = 'mine'", end], way)) == []
    assert values(scene.attacker.simple("SHOW application_name")) != ["mine"]
    scene.nothing_crossed()


def test_row_01_name_that_comes_with_bind(scene):
    sql = "SELECT set_config($1, $2, true)"
    args = ["app.current_tenant_id", str(TENANT_B)]
    scene.heard += scene.attacker.run(p.one_shot(sql, args))
    is_refused(scene.heard)
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.RUN_TIME)
def test_row_02_nor_for_sql_made_at_run_time(scene, way, sql):
    carry_out(scene, way, sql)


@pytest.mark.parametrize(
    "params",
    [
        {"options": f"-c app.current_tenant_id={TENANT_B}"},
        {"options": f"--app.current_tenant_id={TENANT_B}"},
        {"options": f"-c\\ x -capp.current_tenant_id={TENANT_B}"},
        {"app.current_tenant_id": str(TENANT_B)},
        {"APP.CURRENT_TENANT_ID": str(TENANT_B)},
        {"app.tenant_proof": "ab"},
        {"role": "eav_owner"},
        {"session_authorization": "postgres"},
        {"options": "-c role=postgres"},
        {"options": "-c session_replication_role=replica"},
        {"options": "-c row_security=off"},
        {"options": "-c search_path=pg_temp,public"},
        {"search_path": "pg_temp, public"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("with_temp")
def test_row_03_nor_before_the_first_query(scene, params):
    """Refused at login, or the client's own business."""
    try:
        conn = scene.login(TENANT_A, **params)
    except p.LoginError as error:
        assert error.code in ("42501", "28000", "0A000", "42704", "22023"), error
        scene.nothing_crossed()
        return
    with conn:
        conn.simple("CREATE TEMP TABLE item (tenant_id bigint)")
        assert values(conn.simple("SELECT DISTINCT tenant_id FROM public.item")) == [str(TENANT_A)]
        assert values(conn.simple(CONTEXT)) == [str(TENANT_A)]
        assert values(conn.simple("SELECT current_user::text, session_user::text")) == ["app"] * 2
        assert values(conn.simple("SHOW session_replication_role")) == ["origin"]
        assert values(conn.simple("SHOW row_security")) == ["on"]
    scene.nothing_crossed()


FUNCTIONS = {
    "set_config(text,text,bool)": [b"app.current_tenant_id", str(TENANT_B).encode(), b"f"],
    "query_to_xml(text,bool,bool,text)": [b"SELECT * FROM item", b"t", b"t", b""],
    "pg_terminate_backend(int,bigint)": [b"1", b"0"],
    "lo_creat(int)": [b"-1"],
    "planted_switch(bigint)": [str(TENANT_B).encode()],
    "upper(text)": [b"even this one"],
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_row_04_nor_by_function_call(scene, function):
    oid = scene.cluster.sql("SELECT %s::regprocedure::oid::bigint", (function,),
                            dbname=scene.dbname)[0][0]
    scene.heard += scene.attacker.run(p.function_call(oid, FUNCTIONS[function]))
    is_refused(scene.heard)
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.SWITCHES + attacks.ROLES)
def test_row_05_roles_and_switches(scene, way, sql):
    carry_out(scene, way, sql)


# ---- past PgUsher -------------------------------------------------------------------------


@pytest.mark.parametrize("sql", attacks.ROLES)
def test_row_05_the_database_refuses_roles_too(stage, sql):
    with stage.direct(TENANT_A) as conn:
        with pytest.raises((psycopg.errors.InsufficientPrivilege,
                            psycopg.errors.InvalidParameterValue)):
            conn.execute(sql)


@pytest.mark.parametrize("sql", attacks.SWITCHES)
def test_row_05_without_row_security_is_an_error(stage, sql):
    with stage.direct(TENANT_A) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        with conn.transaction():
            conn.execute(sql)
            conn.execute("SELECT * FROM item")


@pytest.mark.parametrize("sql", attacks.RUN_TIME)
def test_row_02_the_database_refuses_code_too(stage, sql):
    """DO, functions of one's own, functions that run SQL text: hardening.sql."""
    with stage.direct(TENANT_A) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(sql)


def quietly(conn, sql, loot):
    """What sql and then loot show in one transaction, whatever fails of it."""
    rows = []
    conn.execute("BEGIN")
    for text in (sql, loot):
        conn.execute("SAVEPOINT s")
        try:
            cursor = conn.cursor()
            if text.startswith("COPY"):
                with cursor.copy(text) as copy:
                    rows += [bytes(block).decode() for block in copy]
            else:
                cursor.execute(text)
                rows += cursor.fetchall() if cursor.description else []
        except psycopg.Error:
            conn.execute("ROLLBACK TO s")
    conn.execute("COMMIT")
    return rows


@pytest.mark.parametrize("sql", attacks.SETTING + attacks.RUN_TIME + attacks.PLANTED)
def test_rows_01_and_02_a_setting_without_its_proof_is_nobody(bare_stage, sql):
    """By who has the role's password and a proof of the attacker's own."""
    bare_stage.refill()
    before = bare_stage.fingerprint()
    with bare_stage.direct(TENANT_A) as conn:
        seen = [row for loot in LOOTS for row in quietly(conn, sql, loot)]
    bare_stage.sql("ALTER ROLE app RESET ALL")
    assert not [row for row in seen if f"tenant {TENANT_B}" in str(row)]
    assert bare_stage.fingerprint() == before


# ---- the guard off: the signed context alone ----------------------------------------------


@ways
@pytest.mark.parametrize("sql", attacks.SETTING + attacks.RUN_TIME + attacks.PLANTED
                         + attacks.SWITCHES + attacks.ROLES)
def test_rows_01_to_05_with_the_guard_off(unguarded, way, sql):
    """Whatever the attack itself does: before, in one transaction and in one string with what it
    is for."""
    for loot in LOOTS:
        unguarded.try_all([sql, loot], way)
        unguarded.end_transaction()
        unguarded.try_all(["BEGIN", sql, loot, "COMMIT"], way)
        unguarded.end_transaction()
        unguarded.try_all([f"{sql}; {loot}"], by_query)
        unguarded.end_transaction()
    unguarded.nothing_crossed()
