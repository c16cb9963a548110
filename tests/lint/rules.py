"""The lint rules that need no tool but a compiler. Each takes a Context and yields what is
wrong as `path:line: text`; context.note() adds a remark that is not an error."""

import os
import re
import subprocess
import statistics
from collections import defaultdict

import csource

# The table of modules of docs/architecture.md: one may include only those before it.
MODULES = ("base wire sql conf audit net auth fresh backend pool session console probe http "
           "worker").split()

MAX_FILE_LINES = 700
MAX_HEADER_LINES = 150
MAX_FUNCTION_LINES = 120
MAX_NESTING = 3
MAX_COLUMNS = 100

BANNED = {
    "strcpy": "snprintf or memcpy", "strcat": "struct buf", "sprintf": "snprintf",
    "vsprintf": "vsnprintf", "gets": "fgets", "strtok": "strtok_r", "alloca": "mem_alloc",
    "atoi": "strtol", "atol": "strtol", "malloc": "mem_alloc", "calloc": "mem_zalloc",
    "realloc": "mem_realloc", "strdup": "mem_strdup", "strndup": "mem_strndup",
}
# Where the banned allocators are wrapped.
MAY_ALLOCATE = ("src/base/mem.c",)


def sources(context):
    return csource.find(context.root, ("src", "include"))


def module_of(context, path):
    """The module that a file belongs to; "top" for main.c and the commands; None if nobody's."""
    parts = path.split("/")
    if parts[0] == "src":
        if len(parts) == 2 or parts[1] == "cmd":
            return "top"
        return parts[1] if parts[1] in MODULES else None
    if parts[:2] == ["include", "tbl"]:
        return "tbl"
    if len(parts) == 3:
        return parts[1] if parts[1] in MODULES else None
    name = parts[-1][:-len(".h")]
    for module in MODULES:
        if name == module or name.startswith(module + "_"):
            return module
    return None


def resolve_include(context, path, name):
    """The file that a quoted include means: beside the includer first, then -Iinclude -Isrc."""
    for folder in (os.path.dirname(path), "include", "src"):
        candidate = os.path.normpath(os.path.join(folder, name))
        if os.path.exists(os.path.join(context.root, candidate)):
            return candidate
    return None


def layers(context):
    for path in sources(context):
        module = module_of(context, path)
        if module is None:
            yield "%s:1: belongs to no module of the table" % path
            continue
        for include in csource.includes(csource.read(context.root, path)):
            where = "%s:%d: " % (path, include.line)
            target = resolve_include(context, path, include.name)
            if target is None:
                yield where + 'no file "%s" beside it, under include/ or src/' % include.name
                continue
            # A table belongs to whoever includes it, and main.c and the commands stand on top.
            other = module_of(context, target)
            if "tbl" in (module, other) or module == other:
                continue
            if target.startswith("src/"):
                yield where + 'private header "%s" of module %s' % (include.name, other)
            elif module != "top" and MODULES.index(other) > MODULES.index(module):
                yield where + "%s includes %s, which is below it in the table" % (module, other)


def magics(context):
    seen = defaultdict(list)
    for path in sources(context):
        text = csource.code_only(csource.read(context.root, path))
        for number, line in enumerate(text.splitlines(), 1):
            match = re.match(r"\s*#\s*define\s+(\w+_MAGIC)\s+(\S+)", line)
            if match:
                value = int(re.sub(r"[uUlL]+$|^(?:UINT32_C)?\(|\)$", "", match.group(2)), 0)
                seen[value].append("%s:%d: %s" % (path, number, match.group(1)))
    for value, places in seen.items():
        if value == 0:
            yield places[0] + " is 0, as memory that nobody set often is"
        for place in places[1:]:
            yield "%s has the value of %s" % (place, places[0])


def file_size(context):
    sizes = []
    for path in sources(context):
        n_lines = csource.read(context.root, path).count("\n")
        if path.endswith(".c"):
            sizes.append(n_lines)
        if n_lines > MAX_FILE_LINES and not path.startswith("include/tbl/"):
            yield "%s:%d: %d lines, more than %d" % (path, n_lines, n_lines, MAX_FILE_LINES)
        elif path.startswith("include/") and "/tbl/" not in path and n_lines > MAX_HEADER_LINES:
            context.note("%s has %d lines; a public header should stay under %d"
                         % (path, n_lines, MAX_HEADER_LINES))
    if sizes:
        context.note("%d source files, median %d lines, longest %d"
                     % (len(sizes), statistics.median(sizes), max(sizes)))


def function_size(context):
    sizes = []
    for path in sources(context):
        for function in csource.functions(csource.read(context.root, path)):
            sizes.append(function.lines)
            if function.lines > MAX_FUNCTION_LINES:
                yield "%s:%d: %s has %d lines, more than %d" % (
                    path, function.line, function.name, function.lines, MAX_FUNCTION_LINES)
    if sizes:
        context.note("%d functions, median %d lines, %d over 60, longest %d" % (
            len(sizes), statistics.median(sizes), sum(n > 60 for n in sizes), max(sizes)))


def nesting(context):
    """A statement that controls others stands as many tabs in as it is deep."""
    control = re.compile(r"(\t+)(?:\} )?(?:if|for|while|do|switch|else|\w*(?:FOREACH|_foreach)\w*)\b")
    for path in sources(context):
        for function in csource.functions(csource.read(context.root, path)):
            for number, line in function.body:
                match = control.match(line)
                if match and len(match.group(1)) > MAX_NESTING:
                    yield "%s:%d: %s nests %d deep, more than %d" % (
                        path, number, function.name, len(match.group(1)), MAX_NESTING)


def headers(context):
    """Each header compiles alone."""
    for path in csource.find(context.root, ("src", "include"), (".h",)):
        if path.startswith("include/tbl/"):
            continue
        done = subprocess.run(
            [*context.cc, *context.cflags, "-fsyntax-only", "-x", "c", "-include", path, "/dev/null"],
            cwd=context.root, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            first = [line for line in done.stderr.splitlines() if "error:" in line]
            yield "%s:1: does not compile alone: %s" % (path, first[0] if first else done.stderr)


def guards(context):
    """Each header has an include guard of its own."""
    seen = {}
    for path in csource.find(context.root, ("src", "include"), (".h",)):
        if path.startswith("include/tbl/"):
            continue
        match = re.search(r"^#ifndef (\w+)\n#define \1\n", csource.read(context.root, path), re.M)
        if not match:
            yield "%s:1: no include guard" % path
        elif match.group(1) in seen:
            yield "%s:1: has the include guard of %s" % (path, seen[match.group(1)])
        else:
            seen[match.group(1)] = path


def banned(context):
    calls = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(BANNED))
    for path in sources(context):
        if path in MAY_ALLOCATE:
            continue
        text = csource.code_only(csource.read(context.root, path))
        for number, line in enumerate(text.splitlines(), 1):
            match = calls.search(line)
            if match:
                yield "%s:%d: %s: use %s" % (path, number, match.group(1), BANNED[match.group(1)])


def typedefs(context):
    for path in sources(context):
        text = csource.code_only(csource.read(context.root, path))
        for number, line in enumerate(text.splitlines(), 1):
            if re.match(r"\s*typedef\s+(?:const\s+)?(?:struct|union|enum)\b(?![^;]*\()", line):
                yield "%s:%d: typedef hides a struct, union or enum" % (path, number)


def text(context):
    """Columns, trailing space, the opening comment, and work left for later."""
    for path in sources(context):
        content = csource.read(context.root, path)
        if not content.startswith("/*"):
            yield "%s:1: begins without a comment that says what it is for" % path
        for number, line in enumerate(content.splitlines(), 1):
            if len(line.expandtabs(8)) > MAX_COLUMNS and not path.startswith("include/tbl/"):
                yield "%s:%d: more than %d columns" % (path, number, MAX_COLUMNS)
            if line != line.rstrip():
                yield "%s:%d: space at the end of the line" % (path, number)
        for number, comment in csource.comments(content):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment):
                yield "%s:%d: work left for later" % (path, number)


RULES = {
    "layers": layers, "magics": magics, "file-size": file_size, "function-size": function_size,
    "nesting": nesting, "headers": headers, "guards": guards, "banned": banned,
    "typedefs": typedefs, "text": text,
}
