"""Shows every lint rule a bad sample that it must refuse and a good one that it must accept, so
that a rule cannot fall silent. Also tries what `make check` counts with (scripts/summary.py)."""

import copy
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))

HEADER = "/* A header. */\n#ifndef PGUSHER_%s_H\n#define PGUSHER_%s_H\n\n%s\n\n#endif\n"
GOOD = {
    "include/base/a.h": HEADER % ("BASE_A", "BASE_A", "int a_get(const int *p);"),
    "include/wire.h": HEADER % ("WIRE", "WIRE", '#include "base/a.h"\n\nint wire_get(void);'),
    "src/base/a.c": '/* a */\n#include "base/a.h"\n\n#define A_MAGIC 0x1u\n\nint a_get(const int *p)\n'
                    "{\n\tif (*p > 0) {\n\t\tfor (int i = 0; i < *p; i++) {\n\t\t\tif (i == 7)\n"
                    "\t\t\t\treturn 1;\n\t\t}\n\t}\n\treturn 0;\n}\n",
    "src/wire/wire.c": '/* wire: strcpy(x) "in a comment" is fine */\n#include "wire.h"\n\n'
                       '#include "wire_int.h"\n\n#define WIRE_MAGIC 0x2u\n\nint wire_get(void)\n'
                       "{\n\treturn WIRE_TWO;\n}\n",
    "src/wire/wire_int.h": HEADER % ("WIRE_INT", "WIRE_INT", "#define WIRE_TWO 2"),
    "src/main.c": '/* main */\n#include "wire.h"\n\nint main(void)\n{\n\treturn wire_get();\n}\n',
    "etc/pgusher.ini": "ini\n",
    "docs/configuration.md": "manual\n",
    "docs/guard.md": "guard\n",
    "docs/clients.md": "<!-- tests/clients/a.py -->\n```python\na = 1\n```\n",
    "tests/clients/a.py": "# docs: begin\na = 1\n# docs: end\n",
}


def function(body):
    return "/* bad */\nint bad(int *p);\n\nint bad(int *p)\n{\n%s\treturn *p;\n}\n" % body


# rule: (path, text) of what is added to the good tree to make it bad.
BAD = {
    "layers": [
        ("src/base/b.c", '/* b */\n#include "wire.h"\n'),
        ("src/sql/b.c", '/* b */\n#include "../wire/wire_int.h"\n'),
        ("src/main.c", '/* main */\n#include "../src/wire/wire_int.h"\n'),
        ("src/nobody/b.c", "/* b */\n"),
        ("include/nobody.h", "/* b */\n"),
        ("include/wire_more.h", '/* b */\n#include "session.h"\n'),
    ],
    "magics": [
        ("src/sql/b.c", "/* b */\n#define B_MAGIC 0x0002\n"),
        ("src/sql/b.c", "/* b */\n#define B_MAGIC 0u\n"),
    ],
    "file-size": [("src/sql/b.c", "/* b */\n" + "\n" * 701)],
    "function-size": [("src/sql/b.c", function("\t*p += 1;\n" * 120))],
    "nesting": [
        ("src/sql/b.c", function("\tif (*p)\n\t\twhile (*p)\n\t\t\tdo\n\t\t\t\tif (*p)\n"
                                 "\t\t\t\t\t*p = 0;\n\t\t\twhile (*p);\n")),
        ("src/sql/b.c", function("\tif (*p) {\n\t\tfor (;;) {\n\t\t\tswitch (*p) {\n\t\t\tdefault:\n"
                                 "\t\t\t\tLIST_FOREACH(l, p)\n\t\t\t\t\t*p = 0;\n\t\t\t}\n\t\t}\n"
                                 "\t}\n")),
    ],
    "headers": [("include/sql.h", HEADER % ("SQL", "SQL", "uint32_t sql_get(void);"))],
    "guards": [
        ("include/sql.h", "/* sql */\nint sql_get(void);\n"),
        ("include/sql.h", HEADER % ("WIRE", "WIRE", "int sql_get(void);")),
    ],
    "banned": [
        ("src/sql/b.c", function("\t%s;\n" % call))
        for call in ("strcpy(a, b)", "sprintf(a, b)", "vsprintf (a, b, c)", "strcat(a, b)",
                     "p = alloca(9)", "p = malloc(9)", "strtok(a, b)")
    ],
    "typedefs": [
        ("src/sql/b.c", "/* b */\ntypedef struct b {\n\tint i;\n} b_t;\n"),
        ("src/sql/b.c", "/* b */\ntypedef enum { A, B } b_t;\n"),
    ],
    "text": [
        ("src/sql/b.c", "int b;\n"),
        ("src/sql/b.c", "/* b */\nint b; \n"),
        ("src/sql/b.c", "/* b */\nint b; /* TODO */\n"),
        ("src/sql/b.c", "/* b */\n\t\t\t\tint " + "b" * 70 + ";\n"),
    ],
    "clang-format": [("src/sql/b.c", "/* b */\nint  b;\n")],
    "clang-tidy": [("src/sql/b.c", "/* b */\n#include <string.h>\n\nint b(char *p);\n\n"
                                   "int b(char *p)\n{\n\treturn memset(p, 0, sizeof(p)) != NULL;\n}\n")],
    "cppcheck": [("src/sql/b.c", "/* b */\nint b(void);\n\nint b(void)\n{\n\tint a[2];\n\n"
                                 "\ta[2] = 1;\n\treturn a[2];\n}\n")],
    "docs": [("etc/pgusher.ini", "old\n"), ("docs/configuration.md", "old\n"),
             ("docs/guard.md", "old\n")],
    "snippets": [
        ("docs/clients.md", "<!-- tests/clients/a.py -->\n```python\na = 2\n```\n"),
        ("docs/clients.md", "<!-- tests/clients/gone.py -->\n```python\na = 1\n```\n"),
        ("tests/clients/b.py", "# docs: begin\nb = 1\n# docs: end\n"),
    ],
}

UNIT_LOG = """== unit/a
[==========] Running 3 test(s).
[  PASSED  ] 3 test(s).
"""
# (kind, log, exit status): (passed, failed, skipped)
SUMMARIES = [
    (("cmocka", UNIT_LOG, 0), (3, 0, 0)),
    (("cmocka", UNIT_LOG.replace("] 3", "] a: 3"), 0), (3, 0, 0)),
    (("cmocka", UNIT_LOG + "== unit/b\n!! unit/b ended with status 139\n", 1), (3, 1, 0)),
    (("cmocka", UNIT_LOG + "[  FAILED  ] 2 test(s), listed below:\n!! unit/a ended with status 2\n",
      1), (3, 2, 0)),
    (("cmocka", UNIT_LOG + "leak!\n!! unit/a ended with status 23\n", 1), (3, 1, 0)),
    (("cmocka", UNIT_LOG + "== unit/b\n", 0), (3, 1, 0)),
    (("cmocka", "cc: error\n", 2), (0, 1, 0)),
    (("pytest", "======== 5 passed, 2 skipped in 3.10s ========\n", 0), (5, 0, 2)),
    (("pytest", "=== 1 failed, 5 passed, 2 errors, 1 xfailed in 63.10s (0:01:03) ===\n", 1),
     (5, 3, 1)),
    (("pytest", "======== no tests ran in 0.01s ========\n", 5), (0, 1, 0)),
    (("pytest", "5 passed in 3s\nSegmentation fault\n", 139), (5, 1, 0)),
    (("rules", "lint a: ok\nx.c:1: bad: ok then\nlint b: FAILED\n", 1), (1, 1, 0)),
    (("rules", "", 0), (0, 1, 0)),
    (("build", "", 0), (0, 0, 0)),
    (("build", "", 2), (0, 1, 0)),
]
# (kind, log): what is named
FAILURES = [
    (("cmocka", UNIT_LOG + "[  FAILED  ] test_a\n[  FAILED  ] 1 test(s), listed below:\n"),
     ["[  FAILED  ] test_a"]),
    (("cmocka", "!! unit/b ended with status 139\n"), ["!! unit/b ended with status 139"]),
    (("pytest", "E   FAILED\nFAILED t.py::a - no\nERROR t.py::b\n== 1 failed in 1s ==\n"),
     ["FAILED t.py::a - no", "ERROR t.py::b"]),
    (("rules", "lint a: ok\nlint b: FAILED\n"), ["lint b: FAILED"]),
    (("build", "a.c:1:2: error: no\nmake: *** [b] Error 1\n"),
     ["a.c:1:2: error: no", "make: *** [b] Error 1"]),
]


def write_tree(root, files):
    for path, text in files:
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def sample_tree(context, root):
    """A context for a tree that every rule accepts."""
    write_tree(root, GOOD.items())
    for name in (".clang-format", ".clang-tidy"):
        with open(os.path.join(context.root, name), encoding="utf-8") as f:
            write_tree(root, [(name, f.read())])
    write_tree(root, [("gen", '#!/bin/sh\necho "$1"\n')])
    os.chmod(os.path.join(root, "gen"), 0o755)
    sample = copy.copy(context)
    sample.root = root
    sample.build = os.path.join(root, "build")
    sample.gen_docs = os.path.join(root, "gen")
    return sample


def try_rule(context, name, run_rule):
    with tempfile.TemporaryDirectory() as root:
        for wrong in run_rule(sample_tree(context, root), name):
            yield "%s refuses the good sample: %s" % (name, wrong)
    for number, bad in enumerate(BAD[name], 1):
        with tempfile.TemporaryDirectory() as root:
            sample = sample_tree(context, root)
            write_tree(root, [bad])
            wrong = run_rule(sample, name)
            if not any(bad[0] in line for line in wrong):
                yield "%s accepts bad sample %d (%s): %s" % (name, number, bad[0], wrong)


def try_vla(context):
    """No rule looks for arrays of variable length: the build's own flags must refuse them."""
    done = subprocess.run(
        [*context.cc, *context.cflags, "-fsyntax-only", "-x", "c", "-"], cwd=context.root,
        input="int f(int n);\nint f(int n)\n{\n\tchar a[n];\n\ta[0] = 1;\n\treturn a[0];\n}\n",
        capture_output=True, text=True, check=False)
    if done.returncode == 0 or "vla" not in done.stderr.lower():
        yield "the build's flags accept an array of variable length: " + done.stderr


def try_summary():
    import summary

    for given, expected in SUMMARIES:
        counted = summary.count(*given)
        if counted != expected:
            yield "summary.py counts %s for %r, not %s" % (counted, given, expected)
    for given, expected in FAILURES:
        named = summary.failures(*given)
        if named != expected:
            yield "summary.py names %s in %r, not %s" % (named, given, expected)


def selftest(context):
    import lint

    for name in lint.RULES:
        if name != "selftest":
            yield from try_rule(context, name, lint.run_rule)
    yield from try_vla(context)
    yield from try_summary()
