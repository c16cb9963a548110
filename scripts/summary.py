#!/usr/bin/python3
"""Adds up what the suites of `make check` said of themselves.

usage: summary.py DIR

DIR/steps has a line for each suite (name, kind, exit status, seconds), DIR/NAME.log its output.
Only the runners' own closing lines are counted. A suite, or a test program in it, that ended
badly without naming a failed test counts as one failure, and so does one that ran no test.
What failed is named below the table, for who sees nothing but the end of the output. The last line
is `N passed, N failed, N skipped`; the exit status is 1 if anything failed.
"""

import os
import re
import sys


def count_cmocka(log, status):
    """Sections begin with `== PROGRAM`; `!! PROGRAM ended with status N` closes a bad one."""
    passed = failed = skipped = 0
    for section in re.split(r"^== ", log, flags=re.M)[1:]:
        ok = sum(map(int, re.findall(r"^\[  PASSED  \] (?:\S+: )?(\d+) test", section, re.M)))
        bad = sum(map(int, re.findall(r"^\[  FAILED  \] (?:\S+: )?(\d+) test", section, re.M)))
        skip = sum(map(int, re.findall(r"^\[  SKIPPED \] (?:\S+: )?(\d+) test", section, re.M)))
        ended_badly = re.search(r"^!! \S+ ended with status", section, re.M)
        if bad == 0 and (ended_badly or ok + skip == 0):
            bad = 1
        passed, failed, skipped = passed + ok, failed + bad, skipped + skip
    return passed, failed, skipped


def count_pytest(log, status):
    closing = [line for line in log.splitlines() if re.search(r"\bin \d+[.\d]*s\b", line)
               and re.search(r"\b(passed|failed|errors?|skipped)\b", line)]
    counts = dict.fromkeys(("passed", "failed", "error", "skipped", "xfailed", "xpassed"), 0)
    if closing:
        for number, what in re.findall(r"(\d+) (passed|failed|error|skipped|xfailed|xpassed)",
                                       closing[-1]):
            counts[what] += int(number)
    return (counts["passed"] + counts["xpassed"], counts["failed"] + counts["error"],
            counts["skipped"] + counts["xfailed"])


def count_rules(log, status):
    """`SUITE RULE: ok|FAILED|skipped`, as lint.py and the Makefile's fuzz-corpus print."""
    words = re.findall(r"^[\w-]+ [\w-]+: (ok|FAILED|skipped)\b", log, re.M)
    return words.count("ok"), words.count("FAILED"), words.count("skipped")


def count_build(log, status):
    return 0, 0, 0


COUNT = {"cmocka": count_cmocka, "pytest": count_pytest, "rules": count_rules,
         "build": count_build}


# How each kind of runner names what failed.
FAILURE = {"cmocka": r"^\[  FAILED  \] \S*[^\d\s]\S*$|^!! .*", "pytest": r"^(?:FAILED|ERROR) .*",
           "rules": r"^[\w-]+ [\w-]+: FAILED.*", "build": r"^.*(?:\berror:|\*\*\*).*"}
FAILURES_MAX = 20


def failures(kind, log):
    return [line[:200] for line in re.findall(FAILURE[kind], log, re.M)][:FAILURES_MAX]


def count(kind, log, status):
    passed, failed, skipped = COUNT[kind](log, status)
    if failed == 0 and (status != 0 or (kind != "build" and passed == 0)):
        failed = 1
    return passed, failed, skipped


def main():
    total = [0, 0, 0]
    failed = []
    print("%-14s %7s %7s %8s %8s" % ("suite", "passed", "failed", "skipped", "seconds"))
    with open(os.path.join(sys.argv[1], "steps")) as steps:
        for line in steps:
            name, kind, status, seconds = line.split()
            with open(os.path.join(sys.argv[1], name + ".log"), errors="replace") as f:
                log = f.read()
            counts = count(kind, log, int(status))
            if counts[1]:
                failed += [f"{name}: {line}" for line in failures(kind, log)]
            total = [a + b for a, b in zip(total, counts)]
            print("%-14s %7d %7d %8d %8s" % (name, *counts, seconds))
    print("".join("\n" + line for line in failed))
    print("%d passed, %d failed, %d skipped" % tuple(total))
    sys.exit(1 if total[1] or not total[0] else 0)


if __name__ == "__main__":
    main()
