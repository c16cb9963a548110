"""Parts a and b: pgbench through both proxies; transactions a second, the proxy's processor time.

(a) One SELECT, which PgUsher gives its tenant context and PgBouncer none; and a tenant's SELECT,
where the application behind PgBouncer sets the context itself: BEGIN, SET LOCAL, SELECT, COMMIT.
(b) The same with the client side plain and TLS, for the processor time.
"""

import collections
import os
import re
import subprocess

from scene import (BenchError, DATABASE, PREPARED_SINCE, SCALE, TENANT, output_of, write_file)
from tables import ratios, spread, table, verdict

SERVERS = 20
CLIENTS = tuple(int(n) for n in (os.environ.get("BENCH_CLIENTS") or "1 16 64").split())
MODES = tuple((os.environ.get("BENCH_MODES") or "simple extended prepared").split())

# What the application sends when nobody sets the context for it: four statements, four round
# trips. The SELECT is that of `pgbench -S`.
TENANT_SCRIPT = f"""\\set aid random(1, 100000 * :scale)
BEGIN;
SET LOCAL app.current_tenant_id = '{TENANT}';
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
COMMIT;
"""

Sample = collections.namedtuple("Sample", "tps cpu_us")
# who: the key of its samples; args: what pgbench sends.
Target = collections.namedtuple("Target", "who proxy args")


class PgbenchParts:
    """Both proxies side by side for all rounds, and the three ways to send a tenant's SELECT."""

    def __init__(self, scene, stack, seconds, parts):
        self.scene, self.cluster, self.seconds = scene, scene.cluster, seconds
        self.parts = parts
        usher = scene.pgusher(stack, SERVERS)
        bouncer = scene.pgbouncer(stack, SERVERS)
        script = write_file(f"{scene.folder}/tenant.sql", TENANT_SCRIPT)
        self.targets = (
            Target("usher", usher, ("-S",)),
            Target("plain", bouncer, ("-S",)),
            Target("tenant", bouncer, ("-f", script, "-s", str(SCALE))),
        )
        self.samples = collections.defaultdict(list)
        self.check_context()
        for target in self.targets:  # opens all server connections and fills the caches
            self.run(target, "simple", max(CLIENTS), "disable", 1)

    def can_prepare(self, target):
        return target.who == "usher" or self.scene.version >= PREPARED_SINCE

    def their_mode(self, mode):
        """What PgBouncer is given: the best that it can."""
        prepares = self.scene.version >= PREPARED_SINCE
        return "extended" if mode == "prepared" and not prepares else mode

    def label(self, mode):
        return mode if self.their_mode(mode) == mode else f"{mode} †"

    def check_context(self):
        """The comparison means nothing unless PgUsher really sets the context, and only it."""
        ask = "SELECT COALESCE(current_setting('app.current_tenant_id', true), '')"
        for target in self.targets[:2]:
            said = output_of(self.cluster.program("psql"), "-XqAt", "-c", ask, DATABASE,
                             env=target.proxy.env).strip()
            expected = TENANT if target.who == "usher" else ""
            if said != expected:
                raise BenchError(f"context through {target.proxy.name}: {said!r}")

    def run(self, target, mode, clients, tls, seconds):
        return run_pgbench(self.cluster, target, mode, clients, tls, seconds)

    def cells(self):
        """(mode, clients, tls) of the parts that are wanted."""
        wanted = []
        for clients in CLIENTS:
            if "a" in self.parts:
                wanted += [(mode, clients, "disable") for mode in MODES]
            elif "b" in self.parts:
                wanted.append(("simple", clients, "disable"))
            if "b" in self.parts:
                wanted.append(("simple", clients, "require"))
        return wanted

    def round(self, number):
        """Every cell once; who goes first changes from round to round."""
        shift = number % len(self.targets)
        order = self.targets[shift:] + self.targets[:shift]
        for mode, clients, tls in self.cells():
            for target in order:
                if mode == "prepared" and not self.can_prepare(target):
                    continue
                sample = self.run(target, mode, clients, tls, self.seconds)
                self.samples[mode, clients, tls, target.who].append(sample)

    def figures(self, mode, clients, tls, other, field):
        mine = [s[field] for s in self.samples[mode, clients, tls, "usher"]]
        theirs = [s[field] for s in self.samples[self.their_mode(mode), clients, tls, other]]
        return mine, theirs, ratios(mine, theirs)

    def table_a(self, other):
        """Transactions a second."""
        rows = []
        for mode in MODES:
            for clients in CLIENTS:
                mine, theirs, quotients = self.figures(mode, clients, "disable", other, 0)
                rows.append([self.label(mode), str(clients), spread(mine, "{:,.0f}"),
                             spread(theirs, "{:,.0f}"), spread(quotients, "{:.2f}"),
                             verdict(f"a {other} {mode} {clients}", quotients)])
        return table(["mode", "clients", "PgUsher tps", "PgBouncer tps", "ratio", "target"], rows)

    def table_b(self, other):
        """Processor time of a transaction."""
        rows = []
        for mode, clients, tls in sorted(self.cells(), key=lambda c: (c[2], c[0])):
            mine, theirs, quotients = self.figures(mode, clients, tls, other, 1)
            word = "TLS" if tls == "require" else "plain"
            rows.append([word, self.label(mode), str(clients), spread(mine, "{:.1f}"),
                         spread(theirs, "{:.1f}"), spread(quotients, "{:.2f}"),
                         verdict(f"b {other} {word} {mode} {clients}", quotients)])
        return table(["client side", "mode", "clients", "PgUsher µs", "PgBouncer µs", "ratio",
                      "target"], rows)

    def report(self):
        if "a" in self.parts:
            print("\n(a1) One SELECT, transactions a second: with tenant context through PgUsher, "
                  "without any\nthrough PgBouncer\n")
            print(self.table_a("plain"))
            print("\n(a2) A tenant's SELECT: PgUsher sets the context; through PgBouncer the "
                  "application sends\nBEGIN; SET LOCAL; SELECT; COMMIT\n")
            print(self.table_a("tenant"))
        print("\n(b1) The proxy's processor time (user and system) of one SELECT\n")
        print(self.table_b("plain"))
        print("\n(b2) The same of a tenant's SELECT, four statements through PgBouncer\n")
        print(self.table_b("tenant"))
        if self.scene.version < PREPARED_SINCE:
            print(f"\n†: PgBouncer {'.'.join(map(str, self.scene.version))} keeps named prepared "
                  "statements in transaction mode only\nsince 1.21; beside PgUsher's prepared stands "
                  "its extended")


def run_pgbench(cluster, target, mode, clients, tls, seconds):
    """One run of pgbench."""
    before = target.proxy.cpu_s()
    jobs = min(clients, os.cpu_count() or 1)
    command = [
        cluster.program("pgbench"), "-n", "-M", mode, "-c", str(clients),
        "-j", str(jobs), "-T", str(seconds), *target.args, DATABASE,
    ]
    done = subprocess.run(
        command, env={**target.proxy.env, "PGSSLMODE": tls}, cwd="/",
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60,
        start_new_session=True, check=False,
    )
    target.proxy.must_live()
    count, tps = read_pgbench(done, " ".join(command))
    return Sample(tps, (target.proxy.cpu_s() - before) * 1e6 / count)


def read_pgbench(done, what):
    """(transactions, tps) of a run without any error; pgbench's own words decide."""
    complete = f"{done.stdout}{done.stderr}"
    count = re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.M)
    failed = re.search(r"^number of failed transactions: (\d+)", done.stdout, re.M)
    tps = re.search(r"^tps = ([\d.]+) \(without initial connection time\)", done.stdout, re.M)
    bad = re.search(r"error|fatal|aborted|warning", done.stderr, re.I)
    if done.returncode or bad or not count or not failed or not tps:
        raise BenchError(f"{what}: exit status {done.returncode}: {complete[-3000:]}")
    if int(failed.group(1)) or not int(count.group(1)):
        raise BenchError(f"{what}: failed transactions, or none at all: {complete[-3000:]}")
    return int(count.group(1)), float(tps.group(1))
