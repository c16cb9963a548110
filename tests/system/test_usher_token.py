"""SET usher.token: one connection serves many tenants. What the protocol owes is replayed byte for
byte in tests/replay/test_identity.c; here are real drivers, real rows, and who gets to see a token.
"""

import random
import threading

import psycopg
import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B

pytestmark = pytest.mark.usefixtures("items")

WHO = "SELECT DISTINCT tenant_id FROM item"


@pytest.fixture
def tokens(keys):
    return {tenant: keys.token(tenant) for tenant in (TENANT_A, TENANT_B)}


def test_a_pool_of_connections_serves_both_tenants(proxy, tokens):
    """As an ORM's pool does: whoever takes the connection says first whose it is."""
    def work(seed):
        rng = random.Random(seed)
        with psycopg.connect(**proxy.dsn(TENANT_A), autocommit=True) as conn:
            for _ in range(150):
                tenant = rng.choice([TENANT_A, TENANT_B])
                if rng.random() < 0.5:
                    conn.execute(f"SET usher.token = '{tokens[tenant]}'")
                    seen = conn.execute(WHO).fetchall()
                else:
                    with conn.transaction():
                        conn.execute(f"SET LOCAL usher.token = '{tokens[tenant]}'")
                        seen = conn.execute(WHO).fetchall()
                        conn.execute("UPDATE item SET n = n + 1 WHERE id = 1")
                wrong.extend(row for row in seen if row != (tenant,))
                assert seen, "no rows"

    wrong = []
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("commit, after", [(True, TENANT_B), (False, TENANT_A)])
def test_set_in_a_transaction_ends_with_it(proxy, tokens, commit, after):
    with psycopg.connect(**proxy.dsn(TENANT_A)) as conn:
        conn.execute(f"SET usher.token = '{tokens[TENANT_B]}'")
        assert conn.execute(WHO).fetchall() == [(TENANT_B,)]
        conn.commit() if commit else conn.rollback()
        assert conn.execute(WHO).fetchall() == [(after,)]


def test_pipelined_in_front(proxy, tokens):
    with psycopg.connect(**proxy.dsn(TENANT_A), autocommit=True) as conn, conn.pipeline():
        conn.execute("BEGIN")
        conn.execute(f"SET LOCAL usher.token = '{tokens[TENANT_B]}'")
        mine = conn.execute(WHO)
        conn.execute("COMMIT")
        again = conn.execute(WHO)
        assert (mine.fetchall(), again.fetchall()) == ([(TENANT_B,)], [(TENANT_A,)])


LEAVE = [("CREATE TEMP TABLE left_there AS SELECT * FROM item", "SELECT name FROM left_there"),
         ("DECLARE left_there CURSOR WITH HOLD FOR SELECT name FROM item", "FETCH 1 FROM left_there"),
         ("PREPARE left_there AS SELECT 'tenant 456 was here'", "EXECUTE left_there")]


def ends(look):
    """Ways on behind the transaction, on its server and without a pause in which to clean that."""
    one = p.one_shot(look)
    return [
        [p.query(f"COMMIT; {look}")],
        [p.query("COMMIT AND CHAIN"), p.query(look)],
        [p.query("COMMIT AND CHAIN"), one],
        [p.query(f"COMMIT AND CHAIN; {look}")],
        [p.query(f"COMMIT; BEGIN; {look}")],
        [p.one_shot("COMMIT")[:-5] + one],
        [p.one_shot("COMMIT AND CHAIN")[:-5] + one],
        [p.one_shot("COMMIT")[:-5] + p.query(look)],
    ]


@pytest.mark.parametrize("leave, look", LEAVE)
@pytest.mark.parametrize("way", range(len(ends(""))))
def test_what_set_local_leaves_meets_nobody_in_mid_string(proxy, tokens, leave, look, way):
    """The tenant changes by itself; in a string, a batch and a chain nothing can clean first."""
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple(f"SET LOCAL usher.token = '{tokens[TENANT_B]}'")
        conn.simple(leave)
        heard = [m for data in ends(look)[way] for m in conn.run(data)]
        assert p.codes_of(heard) == ["55006"]
        assert b"tenant 456" not in b"".join(m.body for m in heard)
        if conn.status != "I":
            conn.simple("ROLLBACK")
        assert p.codes_of(conn.simple(look))
        assert conn.scalar(WHO) == str(TENANT_A)


@pytest.mark.parametrize("hidden", ["SELECT id FROM item", ""])
def test_a_portal_taken_for_a_commit_ends_nothing(proxy, tokens, hidden):
    """A Bind that was skipped left the portal what it was, and its rows stop at the limit."""
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple(f"SET LOCAL usher.token = '{tokens[TENANT_A]}'")
        assert conn.scalar(WHO) == str(TENANT_A)
        conn.run(p.parse("q", hidden) + p.bind("h", "q") + p.parse("e", "COMMIT") + p.sync())
        conn.simple("SAVEPOINT s")
        conn.run(p.execute("nosuch") + p.bind("h", "e") + p.sync())
        conn.simple("ROLLBACK TO s")
        heard = conn.run(p.execute("h", 1) + p.one_shot(f"SET usher.token = '{tokens[TENANT_B]}'"))
        assert p.codes_of(heard) == ["25001"]
        conn.simple("ROLLBACK")
        assert conn.scalar(WHO) == str(TENANT_A)


def test_state_made_and_met_in_one_string(proxy, tokens):
    leave, look = LEAVE[0]
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple(f"SET LOCAL usher.token = '{tokens[TENANT_B]}'")
        assert p.codes_of(conn.simple(f"{leave}; COMMIT; {look}")) == ["55006"]
        conn.simple("ROLLBACK")
        conn.simple("BEGIN")
        conn.simple(f"SET LOCAL usher.token = '{tokens[TENANT_B]}'")
        assert not p.codes_of(conn.simple(f"{leave}; {look}; COMMIT"))
        assert p.codes_of(conn.simple(look)) == ["42P01"]


INSIDE = ["SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a", "ROLLBACK TO b", "RELEASE a", "RESET ALL",
          "SELECT 1", "SELECT 1/0"]
ENDS = ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "COMMIT", "BEGIN"]


def script(rng):
    """A transaction in groups, each of which goes out at once: [(way, statements)]. No string behind
    the block: with a RESET ALL in it PgUsher would make one of its own, where SAVEPOINT works."""
    groups = [("string", [step]) for step in rng.choice([["BEGIN"], ["BEGIN", "SET @"],
                                                         ["BEGIN", "SET LOCAL @"]])]
    for way in rng.choices(["string", "batch"], k=rng.randrange(1, 5)):
        groups.append((way, rng.choices(INSIDE, [5, 3, 5, 3, 1, 4, 3, 1], k=rng.randrange(1, 5))))
    for _ in range(rng.randrange(2)):
        groups.append(("batch", rng.choices(INSIDE + ENDS, k=rng.randrange(1, 6))))
    return groups + [("batch", [rng.choice(["COMMIT", "ROLLBACK"])])]


def play(conn, groups, token):
    """The codes of its errors, group by group; None: the connection was closed."""
    codes = []
    for way, steps in groups + [("string", ["ROLLBACK"])]:
        steps = [step.replace("@", token) for step in steps]
        data = p.query("; ".join(steps))
        if way == "batch":
            data = b"".join(p.one_shot(step)[:-5] for step in steps) + p.sync()
        try:
            codes.append(p.codes_of(conn.run(data)))
        except (p.ConnectionClosed, ConnectionError):
            return None
    return codes


@pytest.mark.parametrize("seed", range(200))
def test_the_token_as_postgres_would_keep_it(proxy, cluster, tokens, seed):
    """Transactions, savepoints, RESET ALL, in strings and batches: behind each the tenant is whoever
    a setting of PostgreSQL's own would name. Where that cannot be known the connection ends."""
    rng = random.Random(seed)
    start = f"-c my.token={TENANT_A}"
    with (proxy.raw(TENANT_A) as ours,
          p.Connection.connect(("127.0.0.1", cluster.ports["primary"]), "app", "eav",
                               cluster.password, options=start) as theirs):
        for _ in range(4):
            groups = script(rng)
            codes = play(ours, groups, f"usher.token = '{tokens[TENANT_B]}'")
            expected = play(theirs, groups, f"my.token = '{TENANT_B}'")
            if codes is None:
                assert any(found and len(steps) > 1
                           for found, (_, steps) in zip(expected, groups)), groups
                return
            assert codes == expected, groups
            assert ours.scalar(WHO) == theirs.scalar("SHOW my.token"), groups


def test_what_follows_a_connection_across_its_tenants(tiny_proxy, tokens):
    """Its settings and prepared statements do, until DISCARD ALL; to no other client on its server."""
    proxy = tiny_proxy
    note = "SELECT current_setting('my.note', true)"
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_B) as other:
        conn.simple("SET my.note = 'of A'")
        conn.run(p.parse("mine", f"{WHO} WHERE name <> 'of A'") + p.sync())
        conn.simple(f"SET usher.token = '{tokens[TENANT_B]}'")
        assert conn.scalar(note) == "of A"
        ran = conn.run(p.bind("", "mine") + p.execute() + p.sync())
        assert [m.values() for m in ran if m.type == "D"] == [[str(TENANT_B).encode()]]
        assert other.scalar(note) in (None, "")
        assert p.codes_of(other.run(p.bind("", "mine") + p.sync())) == ["26000"]
        conn.simple("DISCARD ALL")
        assert conn.scalar(note) in (None, "")
        assert p.codes_of(conn.run(p.bind("", "mine") + p.sync())) == ["26000"]


def test_at_startup(proxy, tokens):
    with proxy.raw(TENANT_A, options=f"-c usher.token={tokens[TENANT_B]}") as conn:
        assert conn.scalar(WHO) == str(TENANT_B)
        conn.simple("RESET usher.token")
        assert conn.scalar(WHO) == str(TENANT_A)


def test_a_bad_token_changes_nothing(proxy, keys, tokens):
    expired = keys.token(TENANT_B, extra=("--claim", "exp=1"))
    other_role = keys.token(TENANT_B, role="someone")
    with proxy.raw(TENANT_A) as conn:
        for bad in ("", "x", expired, other_role, tokens[TENANT_B][:-3] + "AAA"):
            messages = conn.simple(f"SET usher.token = '{bad}'")
            assert p.codes_of(messages) == ["28000"]
            assert conn.scalar(WHO) == str(TENANT_A)


@pytest.mark.parametrize("behind", [[], ["SELECT 1/0"], ["BEGIN", "SELECT 1/0"], ["BEGIN"]])
@pytest.mark.parametrize("before", [[], ["COMMIT"], ["BEGIN", "SELECT 1"]])
def test_a_reset_all_that_a_batch_commits_takes_the_token_back(proxy, tokens, before, behind):
    """Also for what is behind the COMMIT, and where the batch fails there."""
    batch = [*before, "RESET ALL", "COMMIT", WHO, *behind]
    with proxy.raw(TENANT_A) as conn:
        conn.simple(f"SET usher.token = '{tokens[TENANT_B]}'")
        messages = conn.run(b"".join(p.parse("", sql) + p.bind("", "") + p.execute()
                                     for sql in batch) + p.sync())
        rows = [p.rows_of([m]) for m in messages if m.type == "D"]
        assert [(str(TENANT_A),)] in rows and [(str(TENANT_B),)] not in rows
        conn.simple("ROLLBACK")
        assert conn.scalar(WHO) == str(TENANT_A)


def test_a_reset_all_behind_an_error_does_not(proxy, tokens):
    with proxy.raw(TENANT_A) as conn:
        conn.simple(f"SET usher.token = '{tokens[TENANT_B]}'")
        conn.run(b"".join(p.parse("", sql) + p.bind("", "") + p.execute()
                          for sql in ("SAVEPOINT a", "RESET ALL", "COMMIT", "SELECT 1")) + p.sync())
        assert conn.scalar(WHO) == str(TENANT_B)


@pytest.fixture
def talkative(cluster):
    """The server logs every statement that it gets."""
    for value in ("'all'", "DEFAULT"):
        cluster.sql(f"ALTER SYSTEM SET log_statement = {value}")
        cluster.sql("SELECT pg_reload_conf()")
        if value != "DEFAULT":
            wait_until(lambda: cluster.sql("SHOW log_statement") == [("all",)], "log_statement")
            yield cluster


def test_nobody_is_shown_a_token(make_proxy, talkative, tokens):
    """Not the log, not an error, not the server, whose own log would have it."""
    proxy = make_proxy({"pgusher": {"workers": 1}})
    token = tokens[TENANT_B]
    with proxy.raw(TENANT_A) as conn:
        seen = conn.simple(f"SET usher.token = '{token}'")
        seen += conn.simple("SHOW usher.token")
        seen += conn.simple("SELECT current_setting('usher.token', true)")
        for other in (f"SELECT 1; SET usher.token = '{token}'", f"SET usher.token = E'{token}'",
                      f"SELECT set_config('usher.token', '{token}', false)",
                      f"SET usher.token = '{token}", f"SET usher.token TO {token}"):
            messages = conn.simple(other)
            assert p.codes_of(messages) == ["42501"], other
            seen += messages
        assert conn.scalar("SELECT 'the server logs this'") == "the server logs this"
        assert token.split(".")[2] not in repr(seen)
    proxy.stop()
    assert "the server logs this" in talkative.log()
    for text in (proxy.log(), talkative.log()):
        assert token.split(".")[2] not in text
