#!/usr/bin/python3
"""Checks the repository's house rules; `make lint` runs it.

usage: lint.py [--root DIR] [--build DIR] [--cc CC] [--cflags FLAGS] [--gen-docs PROGRAM] [RULE]...

Prints what is wrong as `path:line: text`, remarks, and for each rule a line
`lint RULE: ok|FAILED`. The exit status is 1 if a rule failed. The rule `selftest` shows every
other one a bad sample (selftest.py).
"""

import argparse
import os
import shlex
import sys

sys.dont_write_bytecode = True

import rules
import selftest
import tools

RULES = {**rules.RULES, **tools.RULES, "selftest": selftest.selftest}


class Context:
    """Where and with what the rules run."""

    def __init__(self, root, build, cc="gcc", cflags="-Iinclude -Isrc", gen_docs=""):
        self.root = root
        self.build = os.path.abspath(build)
        self.cc = shlex.split(cc)
        self.cflags = shlex.split(cflags)
        self.gen_docs = gen_docs
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def run_rule(context, name):
    """What the rule finds wrong; the context then holds its remarks."""
    context.notes = []
    if not tools.is_there(name):
        return ["%s is not installed (scripts/deps.sh check)" % tools.NEEDS[name]]
    return list(RULES[name](context))


def main():
    parser = argparse.ArgumentParser(description="Checks the repository's house rules.")
    parser.add_argument("--root", default=".")
    parser.add_argument("--build", default="build/lint")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cflags", default="-Iinclude -Isrc")
    parser.add_argument("--gen-docs", default="")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="all when none is named")
    args = parser.parse_args()
    for name in args.rules:
        if name not in RULES:
            parser.error("no rule %s; there are: %s" % (name, " ".join(RULES)))
    context = Context(args.root, args.build, args.cc, args.cflags, args.gen_docs)
    n_failed = 0
    for name in args.rules or RULES:
        wrong = run_rule(context, name)
        for line in wrong:
            print(line)
        for note in context.notes:
            print("  note: " + note)
        print("lint %s: %s" % (name, "FAILED" if wrong else "ok"), flush=True)
        n_failed += bool(wrong)
    sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
