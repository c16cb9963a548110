"""C source as the lint rules see it: files, includes, functions. It leans on the repository's
formatting (a function's braces stand alone in column 0), which the format rule enforces."""

import os
import re
from collections import namedtuple

Function = namedtuple("Function", "name line lines body")  # body: (line number, text) pairs
Include = namedtuple("Include", "line name")


def find(root, folders, suffixes=(".c", ".h")):
    """Paths under the folders, relative to root, sorted."""
    found = []
    for folder in folders:
        for path, _, names in os.walk(os.path.join(root, folder)):
            found += [os.path.relpath(os.path.join(path, name), root)
                      for name in names if name.endswith(suffixes)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def code_only(text):
    """The text with comments and the contents of literals blanked; lines stay where they are."""
    def blank(match):
        found = match.group(0)
        if found[0] in "\"'":
            return found[0] + " " * (len(found) - 2) + found[0]
        return re.sub(r"[^\n]", " ", found)

    return re.sub(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", blank, text,
                  flags=re.S)


def comments(text):
    """(line number, text) of each comment."""
    for match in re.finditer(r'"(?:\\.|[^"\\\n])*"|(/\*.*?\*/|//[^\n]*)', text, flags=re.S):
        if match.group(1):
            yield text.count("\n", 0, match.start()) + 1, match.group(1)


def includes(text):
    """The quoted includes."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if match:
            yield Include(number, match.group(1))


def functions(text):
    """Each function with its length: from the first line of its head to its closing brace."""
    lines = code_only(text).splitlines()
    start = None
    for number, line in enumerate(lines):
        if line.rstrip() == "{" and start is None:
            start = number
        elif line.rstrip() == "}" and start is not None:
            head = start
            while head > 0 and lines[head - 1].strip() and lines[head - 1][0] not in "#}" \
                    and not lines[head - 1].rstrip().endswith((";", "\\")):
                head -= 1
            name = re.search(r"(\w+)\s*\(", " ".join(lines[head:start]))
            yield Function(name.group(1) if name else "?", head + 1, number - head + 1,
                           list(enumerate(lines[start:number + 1], start + 1)))
            start = None
