"""Failover: the primary is killed, a replica is promoted, the old one comes back, two are promoted.

Each test wrecks a cluster of its own. What clients may and may not see is docs/freshness.md's:
who had nothing in flight goes on; what was in flight is never repeated; nothing is sent to a
primary that is fenced, nor to either of two of which nobody can say which one counts.
"""

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from cluster import Cluster, wait_until
from console import CONSOLE, Console
from pgproto import ConnectionClosed, PgError, codes_of, query
from proxy import Proxy

TENANT = 7
CLOSED = (ConnectionClosed, OSError)
TABLES = """
CREATE TABLE tally (id bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
GRANT SELECT, INSERT ON tally TO app;
CREATE TABLE public.replication_heartbeat (
    id serial PRIMARY KEY, timestamp timestamptz DEFAULT now(), source varchar(50) NOT NULL);
CREATE UNIQUE INDEX ON public.replication_heartbeat (source);
GRANT USAGE ON SCHEMA public TO probe;
GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;
GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe;
"""
WHERE = "SELECT current_setting('cluster_name')"


class Doomed(Cluster):
    """A cluster to be wrecked."""

    def kill(self, node):
        """kill -9, of all its processes."""
        for key in [k for k in self._superusers if k[0] == node]:
            self._superusers.pop(key).close()
        with open(os.path.join(self.base, node, "postmaster.pid"), encoding="ascii") as file:
            pid = int(file.readline())
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True,
                                  check=False).stdout.split()
        for each in [pid, *map(int, children)]:
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), f"{node} is dead")

    def promote(self, node):
        assert self.superuser(node=node).execute("SELECT pg_promote()").fetchone()[0]


@pytest.fixture
def doomed(tmp_path):
    made = Doomed(tmp_path / "cluster")
    try:
        made.start()
        made.sql("CREATE DATABASE fo")
        made.superuser("fo").execute(TABLES)
        made.wait_caught_up()
        yield made
    finally:
        made.stop()


@pytest.fixture
def usher(doomed, keys, tmp_path):
    """All reads are the primary's."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    overrides = {
        "pgusher": {**CONSOLE, "workers": 2, "max_server_conn": 4, "query_wait_timeout": "90s",
                    "server_login_retry": "15s"},
        "database fo": {"nodes": "primary, replica1, replica2", "consistency": "strong"},
        "role probe": {"tenant": "none", "password_file":
                       os.path.join(doomed.folder, "probe.password")},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "100ms"},
        "audit": {"file": str(folder / "audit.jsonl")},
    }
    with Proxy(doomed, keys, folder, overrides, databases=()) as running:
        wait_until(lambda: states(running)["primary"] == ("primary", "ok"), "it is measured")
        yield running


def states(proxy):
    console = Console(proxy)
    try:
        return {row["node"]: (row["role"], row["state"]) for row in console.show("NODES")}
    finally:
        console.conn.close()


def fences(proxy):
    """What the audit log has of them."""
    with open(os.path.join(proxy.folder, "audit.jsonl"), encoding="ascii") as file:
        lines = [json.loads(line) for line in file]
    return [(line["outcome"], line["node"], line["reason"]) for line in lines
            if line["event"] == "route" and line["outcome"] in ("fenced", "released")]


class Writer(threading.Thread):
    """Inserts one id after the other, each once. A connection that broke is made again."""

    def __init__(self, proxy, first):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.next = first
        self.acked, self.failed = [], []
        self.is_over = False

    def run(self):
        conn = None
        while not self.is_over:
            self.next += 1
            try:
                conn = conn or self.proxy.raw(TENANT, "fo")
                conn.timeout = 120
                conn.rows(f"INSERT INTO tally (id) VALUES ({self.next})")
                self.acked.append((time.monotonic(), self.next))
            except (PgError, *CLOSED) as error:
                self.failed.append(error)
                if conn is not None:
                    conn.close()
                conn = None
            time.sleep(0.002)
        if conn is not None:
            conn.close()


def test_a_promotion_under_load(doomed, usher):
    doomed.sql("ALTER SYSTEM SET synchronous_standby_names = 'replica1'")
    doomed.sql("SELECT pg_reload_conf()")
    idle = [usher.raw(TENANT, "fo") for _ in range(6)]
    for conn in idle:
        conn.timeout = 120
        assert conn.scalar(WHERE) == "primary"
    writers = [Writer(usher, n * 1000000) for n in range(6)]
    for writer in writers:
        writer.start()
    wait_until(lambda: all(len(w.acked) > 20 for w in writers), "all of them write")

    doomed.kill("primary")
    # Who has nothing in flight waits for the next one, and is not told of the change.
    waiting = threading.Thread(target=lambda: idle[0].rows("INSERT INTO tally (id) VALUES (-1)"))
    waiting.start()
    wait_until(lambda: states(usher)["primary"][1] == "down", "the probe knows")
    doomed.promote("replica1")
    promoted = time.monotonic()
    wait_until(lambda: all(w.acked[-1][0] > promoted for w in writers), "all of them go on", 60)
    first = min(at for w in writers for at, _ in w.acked if at > promoted)
    waiting.join(60)
    assert not waiting.is_alive()
    for number, conn in enumerate(idle):
        assert conn.scalar(WHERE) == "replica1", number
    for writer in writers:
        writer.is_over = True
    for writer in writers:
        writer.join(60)
    print(f"first write {first - promoted:.3f} s after the promotion")

    there = {row[0] for row in doomed.superuser("fo", "replica1").execute("SELECT id FROM tally")}
    assert -1 in there
    lost = {n for w in writers for _, n in w.acked} - there
    assert not lost, f"{len(lost)} acknowledged writes are lost"
    for writer in writers:
        # At most what was in flight, and the connection that it was on.
        assert len(writer.failed) <= 1, writer.failed
        assert all(getattr(e, "code", "08006") in ("08006", "57P01", "57P02", "57P03")
                   for e in writer.failed), writer.failed
    for conn in idle:
        conn.terminate()


def test_the_old_primary_comes_back(doomed, usher):
    """It is fenced: on a lower timeline, whatever it says and though it be the only one there."""
    conn = usher.raw(TENANT, "fo")
    conn.timeout = 120
    assert conn.scalar(WHERE) == "primary"
    doomed.kill("primary")
    doomed.promote("replica1")
    assert conn.scalar(WHERE) == "replica1"
    doomed.restart("primary")
    wait_until(lambda: "fenced" in states(usher)["primary"][1], "the old one is fenced", 60)
    for _ in range(20):
        assert conn.scalar(WHERE) == "replica1"
    doomed.kill("replica1")
    wait_until(lambda: states(usher)["replica1"][1] == "down", "the probe knows")
    console = Console(usher)
    console.do("SET query_wait_timeout = 2")
    with pytest.raises(PgError) as caught:
        conn.rows("INSERT INTO tally (id) VALUES (1)")
    assert caught.value.code == "57P03", caught.value
    assert "there is no primary" in str(caught.value)
    assert doomed.sql("SELECT count(*) FROM tally", dbname="fo") == [(0,)]
    console.do("SET query_wait_timeout = 90")
    # The same client, as soon as the right one is back.
    doomed.restart("replica1")
    assert conn.scalar(WHERE) == "replica1"
    conn.terminate()


def test_the_primary_lives_on(doomed, usher):
    """A replica is promoted beside it. What would be committed there is lost: clients that are in a
    transaction there, or have a session of their own, are ended; the others do not notice."""
    idle, busy, pinned = (usher.raw(TENANT, "fo") for _ in range(3))
    assert idle.scalar(WHERE) == "primary"
    busy.simple("BEGIN")
    busy.rows("INSERT INTO tally (id) VALUES (1)")
    assert pinned.scalar("SELECT pg_try_advisory_lock(4711)") == "t"
    assert pinned.scalar(WHERE) == "primary"
    doomed.promote("replica1")
    for conn in (busy, pinned):
        assert codes_of(conn.read_to_end()) == ["57P01"]
    for _ in range(10):
        assert idle.scalar(WHERE) == "replica1"
    assert "fenced" in states(usher)["primary"][1]
    wait_until(lambda: fences(usher) == [("fenced", "primary", "another primary is ahead")],
               "the audit log has it, and once")
    console = Console(usher)
    assert ("fenced", "primary") in [(row["outcome"], row["node"]) for row in console.show("AUDIT")]
    console.conn.close()
    # Rolled back, and nobody is connected to it any more but the probe.
    wait_until(lambda: doomed.backends("fo") == [], "all servers on the old one are closed")
    assert doomed.sql("SELECT count(*) FROM tally", dbname="fo") == [(0,)]
    idle.terminate()


def begins_at(conn):
    """The node of a block of reads, which it begins."""
    conn.run(query("ROLLBACK"))
    conn.simple("BEGIN READ ONLY")
    conn.rows("SELECT id FROM tally")
    return conn.scalar("SHOW usher.data_source")


def client_at(usher, node):
    """A client in a block of reads there. One that has read stays with its replica, so it takes
    several, of which the turn goes round."""
    def look():
        conn = usher.raw(TENANT, "fo")
        conn.simple("SET usher.consistency = 'bounded'")
        if begins_at(conn) == node:
            found.append(conn)
        else:
            conn.close()
        return found

    found = []
    wait_until(look, f"a block of reads at {node}")
    return found[0]


def test_a_block_on_the_replica_that_is_promoted(doomed, usher):
    """What follows its end in the same string may write there: the client's next read has it."""
    with client_at(usher, "replica1") as conn:
        doomed.kill("primary")
        doomed.promote("replica1")
        wait_until(lambda: states(usher)["replica1"] == ("primary", "ok"), "the probe knows")
        conn.simple("COMMIT; INSERT INTO tally (id) VALUES (3)")
        for _ in range(5):
            assert conn.scalar("SELECT id FROM tally") == "3"


@pytest.mark.parametrize("stopped, left", [("replica2", "replica1"), ("replica1", "replica2")])
def test_two_are_promoted(doomed, usher, stopped, left):
    """Both on timeline 2: nothing is sent to either, until one is gone, whatever that one had."""
    twins = "two primaries of one timeline"
    conn, reader = usher.raw(TENANT, "fo"), usher.raw(TENANT, "fo")
    conn.timeout = 120
    assert conn.scalar(WHERE) == "primary"
    reader.simple("SET usher.consistency = 'bounded'")
    wait_until(lambda: begins_at(reader) != "primary", "a block of reads on a replica")
    doomed.kill("primary")
    doomed.promote("replica1")
    doomed.promote("replica2")
    usher.wait_log("two nodes of one timeline")
    # Behind its end it could write.
    assert codes_of(reader.read_to_end()) == ["57P01"]
    with pytest.raises(PgError) as caught:
        conn.rows("INSERT INTO tally (id) VALUES (1)")
    assert caught.value.code == "57P03", caught.value
    assert "two servers say that they are the primary" in str(caught.value)
    for node in ("replica1", "replica2"):
        assert states(usher)[node] == ("primary", "fenced: two primaries of one timeline")
    assert sorted(fences(usher)) == [("fenced", "replica1", twins), ("fenced", "replica2", twins)]
    console = Console(usher)
    assert [(row["usable"], row["fallback"], row["reason"]) for row in console.show("PATHS")][1:] == [
        ("no", None, f"fenced: {twins}")] * 2
    console.conn.close()
    doomed.superuser("fo", stopped).execute("CREATE TABLE more AS SELECT generate_series(1, 1000)")
    doomed.kill(stopped)
    usher.wait_log("it is decided which node is the primary", 60)
    assert conn.scalar(WHERE) == left
    conn.rows("INSERT INTO tally (id) VALUES (2)")
    wait_until(lambda: fences(usher)[2:] == [("released", left, twins)], "the audit log has it")
    conn.terminate()


def test_the_old_primarys_late_word_on_tenants(doomed, keys, tmp_path):
    """An answer of the old primary, asked for before the promotion, is older than the new one's."""
    doomed.superuser("fo").execute(
        "CREATE TABLE dir (id bigint PRIMARY KEY, active bool); GRANT SELECT ON dir TO probe;"
        f"INSERT INTO dir VALUES ({TENANT}, true)")
    doomed.wait_caught_up()
    folder = tmp_path / "proxy"
    folder.mkdir()
    overrides = {
        "pgusher": CONSOLE,
        "database fo": {"nodes": "primary, replica1"},
        "role probe": {"tenant": "none", "password_file":
                       os.path.join(doomed.folder, "probe.password")},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "100ms"},
        "tenants": {"directory_query": "SELECT id, active FROM dir", "directory_refresh": "3s"},
    }
    with Proxy(doomed, keys, folder, overrides, databases=()) as proxy:
        proxy.wait_log("tenant directory: 1 active")
        (pid,), = doomed.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE '%FROM dir'")
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(4)
            doomed.promote("replica1")
            wait_until(lambda: "fenced" in states(proxy)["primary"][1], "it is fenced")
            doomed.superuser("fo", "replica1").execute("UPDATE dir SET active = false")
            proxy.wait_log("tenant directory: 0 active")
        finally:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1)
        assert proxy.log().count("tenant directory: 1 active") == 1


def test_started_beside_the_old_primary(doomed, keys, tmp_path):
    """Which answers first: nothing is sent to it before the other one has been heard of."""
    doomed.promote("replica1")
    with open(os.path.join(doomed.base, "replica1", "postmaster.pid"), encoding="ascii") as file:
        pid = int(file.readline())
    folder = tmp_path / "proxy"
    folder.mkdir()
    overrides = {
        "database fo": {"nodes": "primary, replica1"},
        "role probe": {"tenant": "none", "password_file":
                       os.path.join(doomed.folder, "probe.password")},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "100ms"},
    }
    os.kill(pid, signal.SIGSTOP)
    wakes = threading.Timer(0.7, os.kill, (pid, signal.SIGCONT))
    wakes.start()
    try:
        with Proxy(doomed, keys, folder, overrides, databases=()) as proxy:
            with proxy.raw(TENANT, "fo") as conn:
                assert conn.scalar(WHERE) == "replica1"
    finally:
        wakes.join()
