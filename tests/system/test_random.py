"""Randomised differential test: what clients are told through PgUsher, over few shared servers,
is message by message what they are told by PostgreSQL itself with the context set by hand.

Each client of a tenant runs its script (grammar.py) twice, step by step: on a connection
through PgUsher, and on a direct one to a second database that was the same to begin with.
All clients run at once, so servers change hands all the time. A failure prints the seed, the
step and both replies; PGUSHER_SEED=... repeats the scripts (not the interleaving). `make
check-random` runs seeds that nobody has tried.
"""

import os
import random
import re
import threading
import time
import traceback
from collections import deque

import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from grammar import Grammar, Step
from sides import Side

CLIENTS_PER_TENANT = 4
STEPS = 300
# The same on every run, so that a failure of `make check` is one that can be repeated. Nothing is
# special about them: `make check-random` tries others.
SEEDS = ((2, 1001), (3, 1002))


def runs():
    """(servers, seed) of each run: PGUSHER_SEED is a seed, or `random` for PGUSHER_RUNS new ones."""
    wish = os.environ.get("PGUSHER_SEED")
    if not wish:
        return SEEDS
    count = int(os.environ.get("PGUSHER_RUNS", "1"))
    seeds = [random.SystemRandom().randrange(1 << 32) for _ in range(count)] \
        if wish == "random" else [int(wish)]
    return [(servers, seed) for seed in seeds for servers in (2, 3)]


# ---- one client --------------------------------------------------------------------------


class Difference(AssertionError):
    pass


STATEMENT_NAME = re.compile('prepared statement "[^"]*"')


def is_spurious(message):
    """docs/deviations.md 6: a SET LOCAL behind a COMMIT in one string is sent by itself."""
    return message[0] == "N" and ("C", "25P01") in message[1]


def told(messages):
    """What counts. A statement has another name on the servers (docs/deviations.md 1), and one
    error of Bind names it."""
    out = [message for message in p.comparable(messages) if not is_spurious(message)]
    for index, (kind, fields) in enumerate(out):
        if kind == "E" and ("C", "08P01") in fields:
            fields = tuple((k, STATEMENT_NAME.sub("a statement", v)) for k, v in fields)
            out[index] = (kind, fields)
    return out


def batches(messages):
    """The messages in lists that end with ReadyForQuery; the last one may be without."""
    out = [[]]
    for msg in messages:
        out[-1].append(msg)
        if msg.type == "Z":
            out.append([])
    return out if out[-1] else out[:-1]


def is_excused(status, seen, expected):
    """docs/deviations.md 2 to 4: where PostgreSQL finds a fault, and PgUsher another one first.

    In a failed transaction, a statement that this server has not seen cannot be prepared there
    (25P02), and the portal that a failed Query left is not asked for (34000); a Parse of a name
    that is taken is refused before the text is looked at (42P05); text that nobody can parse and
    that may name the tenant setting is refused (42501).
    """
    if [m for m in seen if m.type == "Z"] != [m for m in expected if m.type == "Z"]:
        return False
    codes = p.codes_of(seen)
    if codes == ["42P05"] or (codes, p.codes_of(expected)) == (["42501"], ["42601"]):
        return len(p.codes_of(expected)) == 1 and \
            before_error(seen) == before_error([m for m in expected if m.type != "N"])
    if codes == ["42601"] == p.codes_of(expected):  # PgUsher's own: no notices, libpg_query's words
        return before_error(seen) == before_error([m for m in expected if m.type != "N"])
    if codes == ["25001"] == p.codes_of(expected):  # which of two reasons is told
        return before_error(seen) == before_error(expected)
    if status == "E" and codes == ["34000"]:
        return len(p.codes_of(expected)) <= 1
    described = bool(seen) and seen[-1].type == "Z" and any(m.type == "t" for m in expected)
    return status == "E" and codes == ["25P02"] and (
        p.codes_of(expected) == ["08P01"] or described)


def before_error(messages):
    return told(messages[:[m.type for m in messages].index("E")])


def show(messages, limit=200):
    """Of rows that are many the first and the last are enough."""
    messages = [m for i, m in enumerate(messages)
                if not (m.type == "D" and 2 < i < len(messages) - 3
                        and messages[i - 3].type == messages[i + 2].type == "D")]
    lines = [f"      {m!r}" for m in messages[:limit] if m.type not in "SK"]
    return "\n".join(lines + (["      ..."] if len(messages) > limit else []))


class Client:
    """Runs one script on both sides and compares."""

    def __init__(self, tenant, number, seed, proxied, direct):
        self.name = f"tenant {tenant} client {number}"
        rng = random.Random(f"{seed} {tenant} {number}")
        self.steps = Grammar(rng, tenant, number).steps(STEPS)
        self.proxied = Side(proxied, random.Random(rng.random()))
        self.direct = Side(direct)
        self.history = deque(maxlen=6)
        self.messages = 0
        self.status = "I"

    def run(self, stop):
        for index, step in enumerate(self.steps + self.closing()):
            if stop.is_set():
                return
            self.history.append(f"   {index}: {step!r}")
            expected = self.direct.run(step)
            try:
                seen = self.proxied.run(step)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise self.difference(index, what, expected) from error
            self.compare(index, seen, expected)

    @staticmethod
    def closing():
        """Whatever state the script ended in: out of the batch, out of the transaction."""
        return [
            Step().add(p.sync(), "S", "Sync"),
            Step().add(p.query("COMMIT"), "Q", "Query COMMIT"),
        ]

    def compare(self, index, seen, expected):
        self.messages += len(seen)
        ours, theirs = batches(seen), batches(expected)
        if len(ours) != len(theirs):
            raise self.difference(index, "replies differ in number", expected, seen)
        for one, other in zip(ours, theirs):
            if told(one) != told(other) and not is_excused(self.status, one, other):
                raise self.difference(index, "replies differ", expected, seen)
            if other[-1].type == "Z":
                self.status = other[-1].body.decode()

    def difference(self, index, what, expected, seen=()):
        return Difference(
            f"{self.name}, step {index}: {what}\n" + "\n".join(self.history)
            + f"\n   direct:\n{show(expected)}\n   through PgUsher:\n{show(seen)}"
        )


def run_all(clients, seed):
    """Runs the clients at once; the first difference stops all and fails the test."""
    stop, failures = threading.Event(), []

    def body(client):
        try:
            client.run(stop)
        except Exception as error:
            failures.append(error if isinstance(error, AssertionError) else traceback.format_exc())
            stop.set()
            # Whoever waits for a server that a stopped client holds would wait for long.
            for other in clients:
                other.proxied.conn.wake()

    threads = [threading.Thread(target=body, args=(c,), daemon=True) for c in clients]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 600
    for thread in threads:
        thread.join(max(0.1, deadline - time.monotonic()))
        assert not thread.is_alive(), f"PGUSHER_SEED={seed}: clients hang"
    if failures:
        pytest.fail(f"repeat with PGUSHER_SEED={seed}\n{failures[0]}", pytrace=False)


# ---- the databases -----------------------------------------------------------------------


@pytest.fixture
def twin_databases(cluster):
    """rand_proxied and rand_direct: equal down to the tables' object ids."""
    for name in ("rand_proxied", "rand_direct"):
        cluster.close_superuser(name)
        cluster.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        cluster.deploy(name, template="pristine")


def contents(cluster, dbname):
    """All that scripts can change, in an order of its own."""
    return {
        "item": cluster.sql("SELECT * FROM item ORDER BY tenant_id, id", dbname=dbname),
        "bulk": cluster.sql("SELECT * FROM bulk ORDER BY id, body", dbname=dbname),
        "entities": cluster.sql(
            "SELECT entity_id, tenant_id, entity_type, is_deleted, version FROM entities"
            " ORDER BY 1, 2", dbname=dbname),
        "entity_jsonb": cluster.sql(
            "SELECT entity_id, tenant_id, hot_attrs FROM entity_jsonb ORDER BY 1, 2",
            dbname=dbname),
    }


def direct_client(cluster, tenant, dbname="rand_direct"):
    """PostgreSQL itself; one tenant a connection, so the context may as well be the session's. As a
    startup setting, which RESET ALL goes back to."""
    address = ("127.0.0.1", cluster.ports["primary"])
    return p.Connection.connect(address, "app", dbname, cluster.password,
                                options=f"-c app.current_tenant_id={tenant}")


@pytest.mark.parametrize("servers, seed", runs())
def test_replies_are_postgresqls_own(make_proxy, cluster, twin_databases, servers, seed):
    if cluster.major() >= 18:
        pytest.skip("the scripts go where it differs: docs/deviations.md 29")
    proxy = make_proxy(
        {"pgusher": {"max_server_conn": servers, "workers": 2, "max_prepared_statements": 3}},
        databases=("rand_proxied",),
    )
    clients = [
        Client(tenant, number + servers * 100, seed, proxy.raw(tenant, "rand_proxied"),
               direct_client(cluster, tenant))
        for number in range(CLIENTS_PER_TENANT) for tenant in (TENANT_A, TENANT_B)
    ]
    run_all(clients, seed)
    assert sum(client.messages for client in clients) > STEPS * len(clients)
    assert len(cluster.backends("rand_proxied")) <= servers
    proxied, direct = contents(cluster, "rand_proxied"), contents(cluster, "rand_direct")
    for table, rows in direct.items():
        assert proxied[table] == rows, f"{table} differs; PGUSHER_SEED={seed}"
    assert len(direct["item"]) > 20 and len(direct["bulk"]) > 20
    for client in clients:
        client.proxied.conn.terminate()
        client.direct.conn.terminate()


# ---- the test itself must be able to pass and to fail ------------------------------------


def two_direct(cluster, tenant, other_tenant):
    return Client(
        tenant, 900, 4711, direct_client(cluster, other_tenant, "rand_proxied"),
        direct_client(cluster, tenant),
    )


def test_harness_sees_no_difference_where_there_is_none(cluster, twin_databases):
    two_direct(cluster, TENANT_A, TENANT_A).run(threading.Event())


def test_harness_sees_the_wrong_tenant(cluster, twin_databases):
    with pytest.raises(Difference):
        two_direct(cluster, TENANT_B, TENANT_A).run(threading.Event())
