"""Ways to make a replica late, silent or gone, each a context that undoes itself.

Everything is done to the cluster and to the relays in front of it, never to PgUsher.
"""

import contextlib
import os
import signal

import psycopg

from cluster import wait_until
from proxy import free_port
from staleness.relay import Relay

STREAMS = ("replica1", "replica2")
LINKED = "replica2"  # the node that PgUsher reaches by a relay
PAUSED = "SELECT pg_get_wal_replay_pause_state() = 'paused'"


def stat_of(pid):
    """(state, parent); (None, None): there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except OSError:
        return None, None
    return state, int(parent)


def is_over(pid):
    return stat_of(pid)[0] in (None, "Z", "X")


def stop_processes(postmaster):
    """The postmaster and its children; it is stopped first, so that it makes no more of them."""
    os.kill(postmaster, signal.SIGSTOP)
    wait_until(lambda: stat_of(postmaster)[0] == "T", "the postmaster is stopped")
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [postmaster, *(pid for pid in pids if stat_of(pid)[1] == postmaster)]


class Harm:
    def __init__(self, cluster):
        self.cluster = cluster
        self.stream_dirs = {}
        ways = {}
        for node in STREAMS:
            folder = os.path.join(cluster.base, f"stream-{node}")
            os.mkdir(folder)
            os.chmod(folder, 0o755)
            self.stream_dirs[node] = folder
            ways[node] = (f"{folder}/.s.PGSQL.5432", self.socket_of("primary"))
        self.link_port = free_port()
        ways["link"] = (self.link_port, cluster.ports[LINKED])
        self.relay = Relay(ways)
        for node in STREAMS:
            self.alter(node, "primary_conninfo",
                       f"host={self.stream_dirs[node]} port=5432 user=postgres"
                       f" application_name={node}")
            self.wait_streams(node)

    def stop(self):
        self.relay.stop()

    # ---- reaching the nodes ----

    def socket_of(self, node):
        return f"{self.cluster.socket_dir}/.s.PGSQL.{self.cluster.ports[node]}"

    def sql(self, node, statement):
        """As the superuser, directly; once more where the connection was an old one."""
        try:
            return self.cluster.superuser(node=node).execute(statement)
        except psycopg.OperationalError:
            self.cluster.superuser(node=node).close()
            return self.cluster.superuser(node=node).execute(statement)

    def scalar(self, node, statement):
        return self.sql(node, statement).fetchone()[0]

    def alter(self, node, name, value):
        # A string constant as PostgreSQL reads it; none of these has a quote.
        self.sql(node, f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql(node, "SELECT pg_reload_conf()")

    def pid_file(self, node):
        return os.path.join(self.cluster.base, node, "postmaster.pid")

    def pid_of(self, node):
        with open(self.pid_file(node), encoding="ascii") as file:
            return int(file.readline())

    def wait_streams(self, node):
        wait_until(lambda: self.scalar(
            node, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"),
            f"{node} streams", 60)

    # ---- late ----

    @contextlib.contextmanager
    def paused(self, *nodes):
        for node in nodes:
            self.sql(node, "SELECT pg_wal_replay_pause()")
        for node in nodes:
            wait_until(lambda n=node: self.scalar(n, PAUSED), f"{node} is paused")
        try:
            yield
        finally:
            for node in nodes:
                self.sql(node, "SELECT pg_wal_replay_resume()")

    @contextlib.contextmanager
    def delayed(self, node, delay):
        self.alter(node, "recovery_min_apply_delay", delay)
        try:
            yield
        finally:
            self.alter(node, "recovery_min_apply_delay", "0")

    # ---- cut off ----

    @contextlib.contextmanager
    def stream_cut(self, node, how):
        """how: drop or hole. The node goes on answering, from what it has."""
        self.relay.do(node, how)
        try:
            yield
        finally:
            # What was held up would else only move on.
            self.relay.do(node, "drop")
            self.relay.do(node, "pass")

    @contextlib.contextmanager
    def link_cut(self, how):
        self.relay.do("link", how)
        try:
            yield
        finally:
            self.relay.do("link", "drop")
            self.relay.do("link", "pass")

    # ---- silent ----

    @contextlib.contextmanager
    def stopped(self, pids):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def frozen(self, node):
        return self.stopped(stop_processes(self.pid_of(node)))

    def probe_stopped(self, node):
        """The servers of the probe's connections there."""
        rows = self.sql(node, "SELECT pid FROM pg_stat_activity WHERE usename = 'probe'").fetchall()
        assert rows, f"the probe has no connection to {node}"
        return self.stopped([pid for (pid,) in rows])

    # ---- gone ----

    @contextlib.contextmanager
    def killed(self, node):
        self.kill(node)
        try:
            yield
        finally:
            self.cluster.start_node(node)

    def kill(self, node):
        """Like a machine that loses its power: everything at once, with 9."""
        self.cluster.forget(node)
        pids = stop_processes(self.pid_of(node))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(map(is_over, pids)), f"{node} is gone")
        # A process that nobody has waited for yet would be taken for a server that runs.
        os.unlink(self.pid_file(node))
        os.unlink(f"{self.socket_of(node)}.lock")

    def promote(self, node):
        assert self.scalar(node, "SELECT pg_promote()")

    def follow(self, node, primary):
        """From here on its stream comes from another one, where its slot is made."""
        self.sql(primary, f"SELECT pg_create_physical_replication_slot('{node}')")
        self.relay.do(node, "to", self.socket_of(primary))
        self.relay.do(node, "pass")
        self.wait_streams(node)
