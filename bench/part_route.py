"""Part h: reads on replicas. The same SELECT through PgUsher with no replica, one and two: its
throughput, and the processor time that a read takes of PgUsher, of the primary and of the replicas.
All of PostgreSQL shares this machine's processors, so throughput cannot grow with replicas here;
what the primary is spared is the figure. And the instructions of a statement outside the kernel
(callgrind): routed or not, its classification remembered or not.
"""

import contextlib
import os
import re
import shutil
import subprocess
import time

from part_pgbench import Target, read_pgbench, run_pgbench
from scene import DATABASE, TICKS, BenchError, note, output_of, write_file
from tables import ratios, spread, table

SERVERS = 10
CLIENTS = 16
MODES = ("simple", "prepared")
NODES = {"no replica": ("primary",), "1 replica": ("primary", "replica1"),
         "2 replicas": ("primary", "replica1", "replica2")}
NONE = "no replica"
# For callgrind the heartbeats are few, because the probe's instructions are counted, too.
FRESH, COUNTED = "max_lag = 5s", "max_lag = 1h\nheartbeat_interval = 2s"
READY_S = 60
# Transactions of the two runs whose difference is counted.
REMEMBERED, NEW = "remembered", "never seen before"
RUNS = {REMEMBERED: (1000, 4000), NEW: (200, 700)}

HEARTBEAT = """
CREATE TABLE public.replication_heartbeat (id serial PRIMARY KEY,
    timestamp timestamptz DEFAULT now(), source varchar(50) NOT NULL UNIQUE);
GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;
GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe;
GRANT USAGE ON SCHEMA public TO probe"""
# Another name each time, so that no text is like one before.
NEW_SCRIPT = """\\set aid random(1, 100000 * :scale)
\\set name random(1, 2000000000)
SELECT abalance AS a:name FROM pgbench_accounts WHERE aid = :aid;
"""


def probing(cluster, fresh):
    return (f"[role probe]\npassword_file = {cluster.probe_password_file}\ntenant = none\n\n"
            f"[freshness]\nprobe_role = probe\n{fresh}\n")


class RoutePart:
    def __init__(self, scene, rounds, seconds):
        self.scene, self.cluster = scene, scene.cluster
        self.rounds, self.seconds = rounds, seconds
        self.samples = {(mode, name): [] for mode in MODES for name in NODES}
        self.instructions = {}
        self.scripts = {
            REMEMBERED: ("-S",),
            NEW: ("-f", write_file(f"{scene.folder}/new.sql", NEW_SCRIPT), "-s", "1"),
        }

    def start(self, stack, name, fresh=FRESH, **more):
        """A proxy that sends reads where it is to send them."""
        proxy = self.scene.pgusher(stack, SERVERS, extra=probing(self.cluster, fresh),
                                   nodes=NODES[name], **more)
        deadline = time.monotonic() + READY_S
        while (self.source(proxy) == "primary") != (name == NONE):
            if time.monotonic() > deadline:
                raise BenchError(f"reads are not routed with {name}: {proxy.daemons[0].log}")
            time.sleep(0.1)
        return proxy

    def source(self, proxy):
        """Where a SELECT went."""
        return output_of(self.cluster.program("psql"), "-XqAt", "-c",
                         "SELECT FROM pgbench_accounts WHERE aid = 1", "-c",
                         "SHOW usher.data_source", DATABASE, env=proxy.env).split()[-1]

    # ---- throughput and processor time ----

    def node_cpu_s(self, node):
        """User and system time of the processes that run there; those that ended count, too."""
        with open(f"{self.cluster.base}/{node}/postmaster.pid", encoding="ascii") as file:
            postmaster = int(file.readline())
        total = 0
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8",
                                                    errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
                if int(entry) == postmaster:
                    total += sum(map(int, fields[11:15]))
                elif int(fields[1]) == postmaster:
                    total += sum(map(int, fields[11:13]))
        return total / TICKS

    def sample(self, target, mode):
        """tps, and microseconds of a read: PgUsher's, the primary's, the replicas'."""
        replicas = [n for n in self.cluster.ports if n != "primary"]
        before = self.node_cpu_s("primary"), sum(map(self.node_cpu_s, replicas))
        run = run_pgbench(self.cluster, target, mode, CLIENTS, "disable", self.seconds)
        after = self.node_cpu_s("primary"), sum(map(self.node_cpu_s, replicas))
        count = run.tps * self.seconds
        return (run.tps, run.cpu_us, *((b - a) * 1e6 / count for a, b in zip(before, after)))

    def run(self):
        self.cluster.sql(DATABASE, HEARTBEAT)
        with contextlib.ExitStack() as stack:
            targets = [Target(name, self.start(stack, name), ("-S",)) for name in NODES]
            for target in targets:
                run_pgbench(self.cluster, target, "simple", CLIENTS, "disable", 1)
            for number in range(self.rounds):
                note(f"h: round {number + 1} of {self.rounds}")
                shift = number % len(targets)
                for mode in MODES:
                    for target in targets[shift:] + targets[:shift]:
                        self.samples[mode, target.who].append(self.sample(target, mode))
        self.cluster.wait_unused()
        if shutil.which("valgrind"):
            for text in self.scripts:
                for name in (NONE, "2 replicas"):
                    note(f"h: instructions, {text}, {name}")
                    self.instructions[text, name] = self.count(text, name)

    # ---- instructions ----

    def count(self, text, name):
        """Of one statement: login, start and end are in both runs."""
        few, many = RUNS[text]
        return (self._total(text, name, many) - self._total(text, name, few)) / (many - few)

    def _total(self, text, name, transactions):
        out = f"{self.scene.folder}/callgrind.out"
        prefix = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        with contextlib.ExitStack() as stack:
            proxy = self.start(stack, name, COUNTED, prefix=prefix, workers=1)
            command = [self.cluster.program("pgbench"), "-n", "-c", "1", "-t", str(transactions),
                       *self.scripts[text], DATABASE]
            read_pgbench(subprocess.run(
                command, env=proxy.env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=300, check=False), " ".join(command))
        with open(out, encoding="utf-8") as file:
            found = re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M)
        if not found:
            raise BenchError(f"callgrind counted nothing: {out}")
        return int(found.group(1))

    # ---- the tables ----

    def report(self):
        rows = []
        for mode in MODES:
            base = self.samples[mode, NONE]
            for name in NODES:
                tps, usher, primary, replicas = zip(*self.samples[mode, name])
                rows.append([mode, name, spread(tps, "{:,.0f}"),
                             spread(ratios(tps, [s[0] for s in base]), "{:.2f}"),
                             spread(usher, "{:.1f}"), spread(primary, "{:.1f}"),
                             spread(ratios(primary, [s[2] for s in base]), "{:.2f}"),
                             spread(replicas, "{:.1f}")])
        print(f"\n(h1) One SELECT with and without replicas, {CLIENTS} clients; ratios to each "
              "mode's first row;\nprocessor time of a read, of what shares this machine\n")
        print(table(["mode", "PgUsher before", "tps", "ratio", "PgUsher µs", "primary µs", "ratio",
                     "replicas µs"], rows))
        if not self.instructions:
            return
        rows = []
        for (text, name), count in self.instructions.items():
            base = self.instructions[text, NONE]
            rows.append([text, name, f"{count:,.0f}", f"{count - base:+,.0f}"])
        print("\n(h2) Instructions of a statement, outside the kernel, one client, simple\n")
        print(table(["the text is", "PgUsher before", "instructions", "routing"], rows))
