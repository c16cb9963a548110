#!/usr/bin/python3
"""Keeps docs/clients.md's code the same as the programs': `make docs` writes it, `make lint` checks.

usage: snippets.py [--write]

A block of the page stands behind a line `<!-- tests/clients/PATH -->`; it is what that program has
between `docs: begin` and `docs: end`, moved to the left. Every program of the catalogue has one.
"""

import os
import re
import sys
import textwrap

HERE = os.path.dirname(os.path.realpath(__file__))
PAGE = os.path.join("docs", "clients.md")
BLOCK = re.compile(r"^<!-- (tests/clients/(\S+)) -->\n```(\w+)\n(.*?)^```\n", re.M | re.S)
MARKED = re.compile(r"^[^\n]*docs: begin[^\n]*\n(.*?)^[^\n]*docs: end[^\n]*\n", re.M | re.S)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def marked(path):
    """What a program shows, or None if it shows nothing."""
    found = MARKED.search(read(path))
    return textwrap.dedent(found.group(1)).strip("\n").expandtabs(4) + "\n" if found else None


def programs(root):
    """Every file that has a marked part, by its path in the repository."""
    for folder, _, names in os.walk(os.path.join(root, "tests", "clients")):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name != os.path.basename(__file__) and marked(path) is not None:
                yield os.path.relpath(path, root)


def renew(root, page):
    """The page with its blocks as the programs have them."""
    def block(match):
        path = os.path.join(root, match.group(1))
        text = marked(path) if os.path.exists(path) else None
        return f"<!-- {match.group(1)} -->\n```{match.group(3)}\n{text or ''}```\n"
    return BLOCK.sub(block, page)


def check(root):
    """What is wrong, as `path:line: text`."""
    page = read(os.path.join(root, PAGE))
    for match in BLOCK.finditer(page):
        if renew(root, match.group(0)) != match.group(0):
            line = page.count("\n", 0, match.start()) + 1
            yield f"{PAGE}:{line}: not as in {match.group(1)}: make docs"
    shown = {match.group(1) for match in BLOCK.finditer(page)}
    for path in programs(root):
        if path not in shown:
            yield f"{PAGE}:1: shows nothing of {path}"


def main():
    root = os.path.join(HERE, "..", "..")
    if sys.argv[1:] == ["--write"]:
        text = renew(root, read(os.path.join(root, PAGE)))
        with open(os.path.join(root, PAGE), "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    wrong = list(check(root))
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
