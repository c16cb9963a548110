#!/usr/bin/python3
"""PgUsher and PgBouncer over the same PostgreSQL, measured in turns, as ratios.

    scene.py         the cluster, the proxies, keys
    part_pgbench.py  a: transactions a second; b: the proxy's processor time
    part_token.py    f: a change of token in a connection
    part_chain.py    g: the guard, the signed context, the audit log
    part_route.py    h: reads on replicas, and what routing costs
    part_load.py     c: bytes of an idle client; d: logins; e: 20,000 clients at once
    tables.py        medians, ratios, and the targets they are held against

The machine is shared and its speed wanders, so nothing is measured in a block: each round runs
every cell once, the programs that are compared right after each other and (a, b) in another order
in each round, and a ratio is taken within a round. Any error that pgbench reports fails the run.

Environment: BENCH_PARTS ("a b c d e f g h"), BENCH_SECONDS (3, a cell), BENCH_ROUNDS (5; of d, e and f 3
at most), BENCH_CLIENTS ("1 16 64"), BENCH_MODES ("simple extended prepared"), BENCH_WORKERS (of
PgUsher; auto).
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

from part_chain import ChainPart  # noqa: E402
from part_load import LoadParts  # noqa: E402
from part_token import TokenPart  # noqa: E402
from part_pgbench import PgbenchParts, SERVERS  # noqa: E402
from part_route import RoutePart  # noqa: E402
from scene import (BINARY, SCALE, BenchError, Cluster, Interrupts, Scene,  # noqa: E402
                   note, output_of, whole_number)

PARTS = "abcdefgh"
ROUNDS_LOAD_MAX = 3


def wanted_parts():
    text = os.environ.get("BENCH_PARTS") or " ".join(PARTS)
    parts = text.replace(",", " ").split()
    if not parts or any(part not in PARTS or len(part) != 1 for part in parts):
        raise BenchError(f"BENCH_PARTS is some of {' '.join(PARTS)}: {text!r}")
    return parts


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*: (.*)", file.read(), re.M)
    return f"{os.cpu_count()} x {found.group(1).strip() if found else os.uname().machine}"


def make_scene(stack, interrupts):
    with interrupts.hold():
        folder = tempfile.mkdtemp(prefix="pgusher-bench.", dir="/tmp")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # PostgreSQL and PgBouncer run as another user; the secrets are closed one by one.
        os.chmod(folder, 0o711)
        cluster = Cluster(os.path.join(folder, "cluster"))
        stack.callback(cluster.stop)
        cluster.start()
    cluster.fill()
    return Scene(folder, cluster)


def run_pgbench(scene, interrupts, rounds, seconds, parts):
    """Its proxies are gone when it returns: their server connections are others' limit."""
    with contextlib.ExitStack() as stack:
        with interrupts.hold():
            made = PgbenchParts(scene, stack, seconds, parts)
        for number in range(rounds):
            note(f"{' and '.join(p for p in parts if p in 'ab')}: round {number + 1} of {rounds}")
            made.round(number)
    scene.cluster.wait_unused()
    return made


def print_head(scene, rounds, seconds, load_before):
    versions = [output_of(BINARY, "--version").strip(), scene.bouncer_line,
                *(output_of(scene.cluster.program(name), "--version").strip()
                  for name in ("pgbench", "postgres"))]
    print(f"{time.strftime('%Y-%m-%d %H:%M')}; {'; '.join(versions)}")
    print(f"{processor()}, Linux {os.uname().release}; load average {load_before:.2f} before, "
          f"{os.getloadavg()[0]:.2f} after")
    print(f"{rounds} rounds of {seconds} s a cell (d and e: {min(rounds, ROUNDS_LOAD_MAX)}; c: one), "
          f"in turns; pgbench scale {SCALE};\n{SERVERS} server connections each, 200 in e; "
          "median (min..max); ratio: PgUsher / PgBouncer in the same round;\n"
          "target: of the ratio, in c of PgUsher's bytes, in e's first rows of its errors")


def compare(interrupts):
    rounds, seconds = whole_number("BENCH_ROUNDS", 5), whole_number("BENCH_SECONDS", 3)
    parts, load_before, reports = wanted_parts(), os.getloadavg()[0], []
    stack = contextlib.ExitStack()
    try:
        note("making a cluster and pgbench's tables")
        scene = make_scene(stack, interrupts)
        if {"a", "b"} & set(parts):
            reports.append(run_pgbench(scene, interrupts, rounds, seconds, parts))
        load = LoadParts(scene, seconds, min(rounds, ROUNDS_LOAD_MAX), parts)
        load.run()
        reports.append(load)
        if "f" in parts:
            reports.append(TokenPart(scene, load, min(rounds, ROUNDS_LOAD_MAX)))
            reports[-1].run()
        if "g" in parts:
            reports.append(ChainPart(scene, rounds, seconds))
            reports[-1].run()
        if "h" in parts:
            reports.append(RoutePart(scene, rounds, seconds))
            reports[-1].run()
        print_head(scene, rounds, seconds, load_before)
        for made in reports:
            made.report()
    finally:
        with interrupts.hold():
            stack.close()


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    interrupts = Interrupts()
    try:
        compare(interrupts)
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        note(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
