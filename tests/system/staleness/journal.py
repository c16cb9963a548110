"""What was written when, and the verdict on each read.

One clock, CLOCK_MONOTONIC of the test's process: a write counts from the moment its answer was
received, a read from the moment before it was sent. Both errors are on the lenient side, so a
verdict "too old" is never the harness's own delay.
"""

import bisect
from collections import Counter, defaultdict

STRONG = 0.0


class Journal:
    """The acknowledged writes of each row. A row has one writer, whose numbers rise."""

    def __init__(self):
        self._numbers = defaultdict(list)
        self._times = defaultdict(list)

    def acknowledge(self, row, number, now):
        """A write whose answer never came is not in here: the row may show it or not."""
        self._numbers[row].append(number)
        self._times[row].append(now)

    def age(self, row, shown, at):
        """Since when, seconds before `at`, an acknowledged write is missing in what was shown."""
        numbers = self._numbers[row]
        first_missing = bisect.bisect_right(numbers, shown)
        if first_missing == len(numbers):
            return 0.0
        return max(0.0, at - self._times[row][first_missing])

    def newest(self, row):
        return self._numbers[row][-1]


class Judge:
    """Counts reads and their verdicts. A budget is seconds; a kind says whose promise it is."""

    KEPT = 20

    def __init__(self, journal):
        self.journal = journal
        self.phase = "start"
        self.faulty = []
        self.n_faulty = Counter()
        self.reads = Counter()
        self.by_node = Counter()
        self.by_phase = Counter()
        self.on_replica = Counter()
        self.largest = defaultdict(float)
        self.errors = Counter()
        self.total = 0

    def read(self, kind, budget, row, shown, sent, node, is_replica):
        age = self.journal.age(row, shown, sent)
        key = (kind, budget)
        self.total += 1
        self.reads[key] += 1
        self.by_node[node] += 1
        self.by_phase[self.phase] += 1
        self.on_replica[key] += is_replica
        self.largest[key] = max(self.largest[key], age)
        if age > budget:
            self.n_faulty[kind] += 1
            if len(self.faulty) < self.KEPT:
                self.faulty.append(
                    f"{self.phase}: {kind}, budget {budget:.3f} s: {node} showed row {row} as of "
                    f"{age:.3f} s before the read")

    def told(self, row, shown, sent, node, source, lag):
        """What the client was told of the same read, by ParameterStatus."""
        age = self.journal.age(row, shown, sent)
        if source == node and age <= lag:
            return
        self.n_faulty["told"] += 1
        if len(self.faulty) < self.KEPT:
            self.faulty.append(f"{self.phase}: told {source}, {lag} s; {node} showed row {row} as"
                               f" of {age:.3f} s before the read")

    def error(self, code):
        self.errors[self.phase, code] += 1

    def report(self):
        """Lines of a table, and what it took."""
        lines = [f"{'promise':<22}{'budget':>8}{'reads':>10}{'at replicas':>13}{'oldest':>11}"]
        for key in sorted(self.reads):
            kind, budget = key
            share = 100 * self.on_replica[key] / self.reads[key]
            lines.append(f"{kind:<22}{budget:>6.2f} s{self.reads[key]:>10}{share:>11.1f} %"
                         f"{self.largest[key]:>9.3f} s")
        lines.append(f"{self.total} reads, too old: {sum(self.n_faulty.values())}; by node: "
                     + ", ".join(f"{n} {c}" for n, c in sorted(self.by_node.items())))
        lines.append("by fault: " + ", ".join(f"{p} {c}" for p, c in self.by_phase.items()))
        lines.append("errors: " + (", ".join(
            f"{p} {code} {n}" for (p, code), n in self.errors.items()) or "none"))
        return lines
