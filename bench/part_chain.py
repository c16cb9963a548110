"""Part g: what each link of the chain costs. The same SELECT through PgUsher with the guard off,
standard and strict, the context plain and signed, the audit log off, with its default events and
with statements: each of these changed alone, from the first row's. And the instructions of a
transaction outside the kernel (callgrind), which are the same whatever else the machine does.
"""

import contextlib
import os
import re
import shutil
import subprocess

from part_pgbench import Target, read_pgbench, run_pgbench
from scene import BenchError, DATABASE, note, write_file
from tables import ratios, spread, table

SERVERS = 10
CLIENTS = 16
MODES = ("simple", "prepared")
FEW, MANY = 1000, 4000  # transactions of the two runs whose difference is counted
STRICT = "guard strict, plain, no audit"


def variants(folder):
    """What is changed: text of the ini file."""
    key = write_file(f"{folder}/proof.key", os.urandom(32).hex())
    return {
        STRICT: "",
        "guard off": "[guard]\nmode = off\n",
        "guard standard": "[guard]\nmode = standard\n",
        "signed context": f"[context]\nmode = signed\nproof_key_file = {key}\n",
        "audit, default events": f"[audit]\nfile = {folder}/default.jsonl\n",
        "audit with statements": f"[audit]\nfile = {folder}/statements.jsonl\n"
                                 "events = auth, guard, admin, route, statements\n",
    }


class ChainPart:
    def __init__(self, scene, rounds, seconds):
        self.scene, self.rounds, self.seconds = scene, rounds, seconds
        self.variants = variants(scene.folder)
        self.samples = {(mode, name): [] for mode in MODES for name in self.variants}
        self.instructions = {}

    def run(self):
        with contextlib.ExitStack() as stack:
            targets = [Target(name, self.scene.pgusher(stack, SERVERS, extra=text), ("-S",))
                       for name, text in self.variants.items()]
            for target in targets:
                run_pgbench(self.scene.cluster, target, "simple", CLIENTS, "disable", 1)
            for number in range(self.rounds):
                note(f"g: round {number + 1} of {self.rounds}")
                shift = number % len(targets)
                for mode in MODES:
                    for target in targets[shift:] + targets[:shift]:
                        self.samples[mode, target.who].append(run_pgbench(
                            self.scene.cluster, target, mode, CLIENTS, "disable", self.seconds))
        self.scene.cluster.wait_unused()
        if shutil.which("valgrind"):
            for mode in MODES:
                for name, text in self.variants.items():
                    note(f"g: instructions, {mode}, {name}")
                    self.instructions[mode, name] = self.count(mode, text)

    def count(self, mode, text):
        """Of one transaction: login, start and end are in both runs."""
        return (self._total(mode, text, MANY) - self._total(mode, text, FEW)) / (MANY - FEW)

    def _total(self, mode, text, transactions):
        out = f"{self.scene.folder}/callgrind.out"
        prefix = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        with contextlib.ExitStack() as stack:
            proxy = self.scene.pgusher(stack, SERVERS, extra=text, prefix=prefix, workers=1)
            command = [self.scene.cluster.program("pgbench"), "-n", "-M", mode, "-c", "1",
                       "-t", str(transactions), "-S", DATABASE]
            read_pgbench(subprocess.run(
                command, env=proxy.env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=300, check=False), " ".join(command))
        with open(out, encoding="utf-8") as file:
            found = re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M)
        if not found:
            raise BenchError(f"callgrind counted nothing: {out}")
        return int(found.group(1))

    def report(self):
        rows = []
        for mode in MODES:
            base = self.samples[mode, STRICT]
            for name in self.variants:
                mine = self.samples[mode, name]
                cpu, tps = [s.cpu_us for s in mine], [s.tps for s in mine]
                rows.append([mode, name, spread(cpu, "{:.1f}"),
                             spread(ratios(cpu, [s.cpu_us for s in base]), "{:.2f}"),
                             spread(tps, "{:,.0f}"),
                             spread(ratios(tps, [s.tps for s in base]), "{:.2f}"),
                             *self._counted(mode, name)])
        print(f"\n(g) What each link of the chain costs, {CLIENTS} clients; ratios to each mode's "
              "first row;\ninstructions: of a transaction, outside the kernel, one client\n")
        print(table(["mode", "PgUsher with", "CPU µs", "ratio", "tps", "ratio", "instructions",
                     "change"], rows))

    def _counted(self, mode, name):
        if not self.instructions:
            return "", ""
        count, base = self.instructions[mode, name], self.instructions[mode, STRICT]
        return f"{count:,.0f}", f"{100 * (count / base - 1):+.1f} %"
