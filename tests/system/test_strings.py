"""A Query of several statements is one transaction, as PostgreSQL has it, also where PgUsher sends it
in pieces because the context has to be set between them."""

import pytest

import pgproto as p
from conftest import TENANT_A

INSERT = "INSERT INTO item VALUES ({}, " + str(TENANT_A) + ", 'string')"
COUNT = "SELECT count(*) FROM item WHERE name = 'string'"


@pytest.fixture
def conn(tiny_proxy, items):
    with tiny_proxy.raw(TENANT_A) as conn:
        yield conn
        conn.simple("ROLLBACK; DELETE FROM item WHERE name = 'string'")


def test_nothing_stays_of_a_string_that_fails(conn):
    conn.simple("SET work_mem = '5MB'")
    for sql in (f"{INSERT.format(71)}; RESET ALL; SELECT 1/0",
                "RESET ALL; SELECT 1/0",
                f"SELECT 1; RESET ALL; {INSERT.format(72)}; RESET ALL; {INSERT.format(73)};"
                " SELECT 1/0"):
        replies = conn.simple(sql)
        assert p.codes_of(replies) == ["22012"] and replies[-1].body == b"I"
        assert conn.scalar(COUNT) == "0", sql
        assert conn.scalar("SHOW work_mem") == "5MB", sql


def test_what_succeeds_stays(conn):
    conn.simple("SET work_mem = '5MB'")
    replies = conn.simple(f"{INSERT.format(71)}; RESET ALL; {INSERT.format(72)}; {COUNT}")
    assert p.tags_of(replies) == ["INSERT 0 1", "RESET", "INSERT 0 1", "SELECT 1"]
    assert p.rows_of(replies) == [("2",)] and replies[-1].body == b"I"
    assert conn.scalar(COUNT) == "2"
    assert conn.scalar("SHOW work_mem") == "4MB"


@pytest.mark.parametrize("end, left", [("COMMIT", "2"), ("ROLLBACK", "0")])
def test_the_client_ends_or_begins_it_itself(conn, end, left):
    first, second, third = (INSERT.format(n) for n in (71, 72, 73))
    replies = conn.simple(f"{first}; RESET ALL; {second}; {end}; {third}")
    assert p.codes_of(replies) == [] and replies[-1].body == b"I"
    assert conn.scalar(COUNT) == str(int(left) + 1)
    conn.simple("DELETE FROM item WHERE name = 'string'")
    replies = conn.simple(f"{first}; RESET ALL; {second}; BEGIN; {third}")
    assert p.codes_of(replies) == [] and replies[-1].body == b"T"
    conn.simple(end)
    assert conn.scalar(COUNT) == str(int(left) * 3 // 2)


@pytest.mark.parametrize("sql", ["DISCARD ALL", "VACUUM"])
def test_what_runs_in_no_transaction_is_refused_in_a_string(conn, sql):
    conn.simple("SET work_mem = '5MB'")
    for text in (f"{sql}; {INSERT.format(71)}", f"{INSERT.format(71)}; {sql}",
                 f"SELECT 1; {sql}; SELECT 1"):
        replies = conn.simple(text)
        assert p.codes_of(replies) == ["25001"] and replies[-1].body == b"I", text
        assert conn.scalar(COUNT) == "0"
        assert conn.scalar("SHOW work_mem") == "5MB"
    assert p.codes_of(conn.simple("DISCARD ALL")) == []
    assert conn.scalar("SHOW work_mem") == "4MB"
