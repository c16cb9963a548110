"""No answer is older than promised, whatever happens to the replicas, to the probe and to the ways
between them.

Writers write all the time, readers read through PgUsher under many budgets, and each answer is
judged (journal.py) while one fault after the other goes on (harm.py). `make check` runs each fault
once; `make check-staleness` (PGUSHER_STALENESS=full) repeats them until 100,000 reads are judged,
and lets each grow beyond the largest budget.
"""

import contextlib
import os
import time

import pytest

from cluster import wait_until
from pgproto import Connection
from staleness.harm import STREAMS
from staleness.journal import Journal, Judge
from staleness.sessions import BUSY, DBNAME, SHARED, Load, MixLoad

FULL = os.environ.get("PGUSHER_STALENESS") == "full"
READS = int(os.environ.get("PGUSHER_STALENESS_READS", "100000" if FULL else "3000"))
BUDGETS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
# So late must a replica become under a fault that can make it so.
LATE_S = 6.0 if FULL else 0.8
# A fault is looked at for so many reads more, once it bites.
READS_OF_FAULT = 1000 if FULL else 100
PATIENCE = 60
MARK = (BUSY[0], SHARED)


class Trial:
    """A load, what is done to the cluster meanwhile, and the judge."""

    def __init__(self, harm, proxy, load=Load):
        self.harm = harm
        self.journal = Journal()
        self.judge = Judge(self.journal)
        self.load = load(proxy, self.judge, BUDGETS)

    def wait(self, condition, what):
        def met():
            self.load.must_live()
            return condition()
        try:
            return wait_until(met, f"{what} ({self.judge.phase})", PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.verdict()}") from error

    def reads(self, count):
        until = self.judge.total + count
        self.wait(lambda: self.judge.total >= until, f"{count} reads more")

    def settle(self):
        """Before the first heartbeats, and without the function catalogue, replicas get no reads."""
        for node in STREAMS:
            self.wait(lambda n=node: self.judge.by_node[n], f"{node} is read from")

    def shown(self, node):
        """What the node itself shows, past PgUsher."""
        return self.harm.cluster.superuser(DBNAME, node).execute(
            "SELECT n FROM staleness_mark WHERE (tenant_id, id) = (%s, %s)", MARK).fetchone()[0]

    def age(self, node):
        return self.journal.age(MARK, self.shown(node), time.monotonic())

    @contextlib.contextmanager
    def fault(self, name, harm):
        self.judge.phase = name
        with harm:
            yield
            self.reads(READS_OF_FAULT)
        self.judge.phase = "between"

    def late(self, name, harm, *nodes, late_s=LATE_S):
        """The fault goes on until these nodes are so late."""
        with self.fault(name, harm):
            for node in nodes:
                self.wait(lambda n=node: self.age(n) > late_s, f"{node} is {late_s} s late")
        for node in nodes:
            self.wait(lambda n=node: self.age(n) < 0.2, f"{node} is fresh again")

    def silent(self, name, harm, node):
        """As late, for a node that cannot be asked: by what it showed before."""
        shown = self.shown(node)
        with self.fault(name, harm):
            self.wait(lambda: self.journal.age(MARK, shown, time.monotonic()) > LATE_S,
                      f"{node} is silent for {LATE_S} s")

    def all_read_on(self):
        """No session is stuck behind what was done."""
        for reader in self.load.readers:
            before = reader.judged
            self.wait(lambda r=reader, b=before: r.judged > b, f"{reader} reads on")

    def verdict(self):
        return "\n".join([*self.judge.report(), *self.judge.faulty])


@contextlib.contextmanager
def both(*harms):
    with contextlib.ExitStack() as stack:
        for harm in harms:
            stack.enter_context(harm)
        yield


def test_most_reads_of_a_mix_go_to_replicas(harm, start):
    """All healthy, all defaults: one statement in twenty writes, and whoever wrote reads at the
    primary until a replica has it."""
    trial = Trial(harm, start(), MixLoad)
    with trial.load:
        trial.settle()
        before = trial.judge.total, sum(trial.judge.on_replica.values())
        trial.reads(2000)
        total, on_replicas = trial.judge.total, sum(trial.judge.on_replica.values())
    assert on_replicas - before[1] >= 0.8 * (total - before[0]), trial.verdict()
    assert not trial.judge.n_faulty, trial.verdict()


def late_replicas(trial):
    harm = trial.harm
    trial.late("replay paused", harm.paused("replica1"), "replica1")
    trial.late("both paused", harm.paused("replica1", "replica2"), "replica1", "replica2")
    trial.late("replay delayed", harm.delayed("replica2", "600ms"), "replica2", late_s=0.5)


def cut_replicas(trial):
    harm = trial.harm
    trial.late("stream dropped", harm.stream_cut("replica1", "drop"), "replica1")
    trial.late("stream black hole", harm.stream_cut("replica1", "hole"), "replica1")
    trial.silent("link dropped", harm.link_cut("drop"), "replica2")
    trial.silent("link black hole", harm.link_cut("hole"), "replica2")


def silent_probe(trial):
    harm = trial.harm
    trial.late("probe of a paused replica stopped",
               both(harm.probe_stopped("replica1"), harm.paused("replica1")), "replica1")
    trial.late("probe of the primary stopped, a replica paused",
               both(harm.probe_stopped("primary"), harm.paused("replica2")), "replica2")


def dead_replicas(trial):
    harm = trial.harm
    trial.silent("frozen", harm.frozen("replica1"), "replica1")
    trial.silent("killed", harm.killed("replica2"), "replica2")
    harm.wait_streams("replica2")
    trial.late("started again, paused", harm.paused("replica2"), "replica2")


def round_of_faults(trial):
    for faults in (late_replicas, cut_replicas, silent_probe, dead_replicas):
        faults(trial)
    trial.all_read_on()


def test_no_answer_is_older_than_its_budget(harm, start, capsys):
    trial = Trial(harm, start())
    with trial.load:
        trial.settle()
        round_of_faults(trial)
        while trial.judge.total < READS:
            round_of_faults(trial)
    with capsys.disabled():
        print("\n" + trial.verdict())
    assert not trial.judge.n_faulty, trial.verdict()
    assert trial.judge.by_node["primary"], trial.verdict()


@pytest.mark.parametrize("wrong, kinds", [
    ("lag", ("max_lag by SET", "max_lag by comment", "read-only transaction")),
    ("has", ("own write, session", "own write, tenant")),
])
def test_the_checker_catches_a_wrong_bound(harm, start, wrong_binary, monkeypatch, wrong, kinds):
    """A PgUsher whose bound is 1.5 s too low, or which takes every write for replayed."""
    monkeypatch.setenv("PGUSHER_WRONG", wrong)
    trial = Trial(harm, start(binary=wrong_binary))
    with trial.load:
        trial.settle()
        trial.late("replay paused", harm.paused("replica1"), "replica1")
        trial.late("replay delayed", harm.delayed("replica2", "600ms"), "replica2", late_s=0.5)
    for kind in kinds:
        assert trial.judge.n_faulty[kind], f"{kind} was not caught\n{trial.verdict()}"


def make_synchronous(harm, node):
    """What is acknowledged is there, so that its promotion loses nothing."""
    harm.alter("primary", "synchronous_standby_names", node)
    wait_until(lambda: harm.scalar("primary", "SELECT count(*) FROM pg_stat_replication"
                                              f" WHERE application_name = '{node}'"
                                              " AND sync_state = 'sync'"), f"{node} is synchronous")


def test_promotion(harm, start, capsys):
    """The primary is killed under load and replica1 promoted. Last: there is no way back."""
    trial = Trial(harm, start())
    with trial.load:
        trial.settle()
        make_synchronous(harm, "replica1")
        trial.judge.phase = "primary killed, replica promoted"
        # Else it might have more than the one that is promoted, and could not follow it.
        harm.relay.do("replica2", "drop")
        harm.kill("primary")
        harm.promote("replica1")
        trial.load.primary = "replica1"
        before = trial.journal.newest(MARK)
        trial.wait(lambda: trial.journal.newest(MARK) > before, "writes go on")
        harm.follow("replica2", "replica1")
        trial.reads(READS_OF_FAULT)
        trial.late("replay paused behind the new primary", harm.paused("replica2"), "replica2")
        trial.all_read_on()
    with capsys.disabled():
        print("\n" + trial.verdict())
    assert not trial.judge.n_faulty, trial.verdict()
