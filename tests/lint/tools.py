"""The lint rules that run other programs: clang-format, clang-tidy, cppcheck, the generator of
documentation. As in rules.py, each yields what is wrong."""

import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import sys

import csource


def run(context, command):
    return subprocess.run(command, cwd=context.root, capture_output=True, text=True, check=False)


def errors_of(done):
    """The lines of a compiler-like tool that name a place, else whatever it said."""
    said = done.stdout + done.stderr
    lines = [line for line in said.splitlines() if re.match(r"\S+:\d+:(\d+:)? (?!note)", line)]
    return lines or [said.strip() or "exit status %d" % done.returncode]


def formatted(context):
    """What `make format` formats: tables are one row a line, which it would only break."""
    return [path for path in csource.find(context.root, ("src", "include", "tests", "bench"))
            if not path.startswith("include/tbl/")]


def clang_format(context):
    paths = formatted(context)
    if paths:
        done = run(context, ["clang-format", "--dry-run", "-Werror", *paths])
        wrong = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error:", done.stderr, re.M)))
        for path in wrong:
            yield "%s:1: is not formatted (make format)" % path
        if done.returncode != 0 and not wrong:
            yield done.stderr.strip()


def shown_headers(context, path):
    """The repository's files that a source includes, however deep."""
    done = run(context, [*context.cc, *context.cflags, "-MM", path])
    if done.returncode != 0:
        return csource.find(context.root, ("include",))
    words = done.stdout.replace("\\\n", " ").split()[1:]
    return sorted(os.path.normpath(word) for word in words)


def tidy_key(context, path, version):
    """A file whose text, headers, checks and flags are those of a clean run is clean."""
    digest = hashlib.sha256()
    for part in (version, *context.cflags):
        digest.update(part.encode() + b"\0")
    for name in (".clang-tidy", *shown_headers(context, path)):
        digest.update(name.encode() + b"\0")
        with open(os.path.join(context.root, name), "rb") as f:
            digest.update(f.read() + b"\0")
    return digest.hexdigest()


def tidy_one(context, path, stamps, version):
    stamp = os.path.join(stamps, tidy_key(context, path, version))
    if os.path.exists(stamp):
        return []
    # -Werror is the compiler's affair: clang 14 knows warnings that gcc's build never sees.
    flags = [flag for flag in context.cflags if flag != "-Werror"]
    done = run(context, ["clang-tidy", "--quiet", "--warnings-as-errors=*", path, "--", *flags])
    if done.returncode != 0:
        return errors_of(done)
    with open(stamp, "w"):
        pass
    return []


def clang_tidy(context):
    stamps = os.path.join(context.build, "tidy")
    os.makedirs(stamps, exist_ok=True)
    version = run(context, ["clang-tidy", "--version"]).stdout
    paths = csource.find(context.root, ("src",), (".c",))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for errors in pool.map(lambda path: tidy_one(context, path, stamps, version), paths):
            yield from errors


def cppcheck(context):
    build = os.path.join(context.build, "cppcheck")
    os.makedirs(build, exist_ok=True)
    suppressions = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cppcheck.supp")
    if not os.path.isdir(os.path.join(context.root, "src")):
        return
    done = run(context, [
        "cppcheck", "--quiet", "--enable=warning,performance,portability", "--std=c11",
        "--inline-suppr", "--suppressions-list=" + suppressions, "--error-exitcode=1",
        "--template={file}:{line}: {id}: {message}", "--cppcheck-build-dir=" + build,
        "-j%d" % os.cpu_count(), "-Iinclude", "-Isrc", "-D_GNU_SOURCE", "src"])
    if done.returncode != 0:
        yield from errors_of(done)


CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients")
GENERATED = {
    "ini": "etc/pgusher.ini", "manual": "docs/configuration.md", "guard": "docs/guard.md",
}


def docs(context):
    """What the tables in include/tbl generate is what is checked in."""
    if not context.gen_docs:
        context.note("no tests/lint/gen_docs.c")
        return
    for which, path in GENERATED.items():
        done = run(context, [os.path.abspath(context.gen_docs), which])
        if done.returncode != 0:
            yield "%s: %s" % (path, done.stderr.strip())
        elif not os.path.exists(os.path.join(context.root, path)):
            yield "%s:1: is missing (make docs)" % path
        elif csource.read(context.root, path) != done.stdout:
            yield "%s:1: is not what include/tbl generates (make docs)" % path


def snippets(context):
    """The code in docs/clients.md is that of the programs that make check-clients runs."""
    sys.path.insert(0, CLIENTS)
    import snippets as page

    yield from page.check(context.root)


RULES = {
    "clang-format": clang_format, "clang-tidy": clang_tidy, "cppcheck": cppcheck, "docs": docs,
    "snippets": snippets,
}
NEEDS = {"clang-format": "clang-format", "clang-tidy": "clang-tidy", "cppcheck": "cppcheck"}


def is_there(rule):
    return rule not in NEEDS or shutil.which(NEEDS[rule]) is not None
