"""What a machine can check of STYLE.md. Each test names all offences, as file:line where it can."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED_FOLDERS = {".git", "__pycache__", "corpus", "posthorn-run", ".pytest_cache"}
TEXT = {".c", ".h", ".py", ".sh", ".sql", ".md", ".build", ".txt", ".ini", ".json", ".html", ".css", ".js", ".supp"}
TEXT_NAMES = {"Makefile", "run", ".clang-format", ".clang-tidy", ".editorconfig", ".gitignore"}

# Left to right; a layer includes itself and those in front of it, and no neighbour in its group.
LAYERS = [{"base"}, {"db"}, {"core"}, {"source", "sink", "outbox", "apply", "eventstore", "publish"}, {"config"},
          {"admin"}, {"cli"}]
RANK = {layer: rank for rank, group in enumerate(LAYERS) for layer in group}
GENERATED = {"sql_postgres.h", "sql_sqlite.h", "sql_publish.h"}

FUNCTION_LINES_MAX = 70
COMPLEXITY_MAX = 15
FILE_LINES_MAX = 600
BANNED = ("strcpy strcat sprintf vsprintf gets strtok alloca system popen atoi atol rand srand").split()
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "X" "XX"]) + r")\b")


def is_text(path):
    return path.suffix in TEXT or path.name in TEXT_NAMES


def all_files():
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("build"))
        found += [Path(folder, n) for n in sorted(names) if is_text(Path(n))]
    return found


FILES = all_files()


def below(*tops, suffixes=(".c", ".h")):
    return [f for f in FILES if f.suffix in suffixes and f.relative_to(ROOT).parts[0] in tops]


SOURCES = below("src")
ALL_C = below("src", "include", "bench", "test")


def where(path, line=None):
    name = str(path.relative_to(ROOT))
    return name if line is None else f"{name}:{line}"


def none(offences):
    """Fails with the list of what offends."""
    assert not offences, "\n" + "\n".join(offences)


# -- C without its comments and strings -------------------------------------------------------------

TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def bare(text):
    """The code alone, each line in its place."""
    return TOKEN.sub(lambda m: '""' if m[0][0] in "\"'" else re.sub(r"[^\n]", " ", m[0]), text)


def test_bare_code_keeps_its_lines():
    code = 'a(); /* strcpy(\n */ b("strcpy(");  // strcpy(\nc(\'"\'); d();'
    assert bare(code).split("\n")[1:] == ['    b("");            ', 'c(""); d();']
    assert "strcpy" not in bare(code)


# -- layers ---------------------------------------------------------------------------------------


def included(path):
    """(line, included file) of every #include "..."."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match:
            yield number, match[1]


def layer_fault(layer, target):
    """What is wrong with an include of target from a file of the layer; None when nothing is."""
    other = target.split("/")[0]
    if target in GENERATED or other == "posthorn" or other == layer:
        return None
    if "/" not in target:
        return "name the folder too"
    if other not in RANK:
        return f"{other} is no layer"
    if RANK[other] == RANK[layer]:
        return f"{layer} and {other} are neighbours"
    return f"{other} is behind {layer}" if RANK[other] > RANK[layer] else None


def test_layers_include_left_to_right():
    faults = []
    for path in SOURCES:
        layer = path.relative_to(ROOT / "src").parts[0]
        assert layer in RANK, f"src/{layer} is no layer: add it to LAYERS"
        for line, target in included(path):
            fault = layer_fault(layer, target)
            if fault:
                faults.append(f'{where(path, line)}: includes "{target}": {fault}')
    none(faults)


def test_the_layer_check_sees_offences():
    assert layer_fault("core", "base/buf.h") is None and layer_fault("sink", "core/sink.h") is None
    for layer, target in [("base", "core/batch.h"), ("source", "sink/file.h"), ("db", "cli/cli.h"),
                          ("core", "batch.h"), ("core", "misc/x.h")]:
        assert layer_fault(layer, target), (layer, target)


def test_generated_headers_are_made_by_the_build():
    made = (ROOT / "sql" / "meson.build").read_text()
    none([f"{name} is not made in sql/meson.build" for name in GENERATED if name not in made])


# -- the build ------------------------------------------------------------------------------------


def not_built(folder, text):
    """The .c files of a folder that its meson.build does not name, whole or as 'test_' + MODULE."""
    quoted = set(re.findall(r"'([^'\n]+)'", text))
    return [path for path in sorted(folder.glob("*.c"))
            if path.name not in quoted and re.sub(r"^(test|fuzz)_", "", path.stem) not in quoted]


def test_each_source_is_built():
    folders = sorted({path.parent for path in SOURCES + below("test", suffixes=(".c",)) + below("bench")
                      if path.suffix == ".c" and path.parent.name != "c"})
    none([f"{where(path)} is not in {where(folder / 'meson.build')}" for folder in folders
          for path in not_built(folder, (folder / "meson.build").read_text()
                                if (folder / "meson.build").exists() else "")])


def test_the_build_check_sees_offences(tmp_path):
    for name in ("test_a.c", "b.c", "test_b.c"):
        (tmp_path / name).touch()
    assert [path.name for path in not_built(tmp_path, "files('b.c', 'a')")] == ["test_b.c"]
    assert len(not_built(tmp_path, "")) == 3 and not_built(tmp_path, "['a', 'b']: files('b.c')") == []


# -- sizes ----------------------------------------------------------------------------------------


def test_files_are_short():
    measured = [f for f in FILES if f.suffix in (".c", ".h", ".py", ".sh", ".sql")]
    lines = {f: len(f.read_text().splitlines()) for f in measured}
    none([f"{where(f)}: {n} lines, at most {FILE_LINES_MAX}" for f, n in lines.items() if n > FILE_LINES_MAX])


@pytest.fixture(scope="module")
def functions():
    """(complexity, lines, place, name) of every C function, by pmccabe."""
    if shutil.which("pmccabe") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no pmccabe here: run tools/deps.sh test")
    files = [str(f.relative_to(ROOT)) for f in ALL_C if f.suffix == ".c"]
    done = subprocess.run(["pmccabe", *files], cwd=ROOT, text=True, capture_output=True, timeout=60, check=True)
    rows = [line.split(None, 5) for line in done.stdout.splitlines()]
    assert len(rows) > 100, done.stderr
    return [(int(row[0]), int(row[4]), *row[5].rsplit(": ", 1)) for row in rows]


def test_functions_are_short(functions):
    none([f"{place}: {name}: {lines} lines, at most {FUNCTION_LINES_MAX}"
          for _, lines, place, name in functions if lines > FUNCTION_LINES_MAX])


def test_functions_are_simple(functions):
    none([f"{place}: {name}: complexity {n}, at most {COMPLEXITY_MAX}"
          for n, _, place, name in functions if n > COMPLEXITY_MAX])


def test_python_functions_are_short():
    faults = []
    for path in [f for f in FILES if f.suffix == ".py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    faults.append(f"{where(path, node.lineno)}: {node.name}: {lines} lines")
    none(faults)


# -- words ----------------------------------------------------------------------------------------


def banned_calls(text):
    """(line, name) of each call that is banned."""
    pattern = re.compile(r"\b(" + "|".join(BANNED) + r")\s*\(")
    for number, line in enumerate(bare(text).split("\n"), 1):
        for match in pattern.finditer(line):
            yield number, match[1]


def test_no_banned_calls():
    none([f"{where(path, line)}: {name}() is banned"
          for path in ALL_C for line, name in banned_calls(path.read_text())])


def test_the_banned_call_check_sees_offences():
    code = '/* strcpy(a) */ snprintf(a);\nif (system (x)) "atoi(";\nmy_rand(); rand();'
    assert list(banned_calls(code)) == [(2, "system"), (3, "rand")]


def test_nothing_is_marked_unfinished():
    none([f"{where(path, number)}: {line.strip()}" for path in FILES
          for number, line in enumerate(path.read_text().splitlines(), 1) if UNFINISHED.search(line)])


def test_no_trailing_space():
    faults = []
    for path in FILES:
        text = path.read_text()
        faults += [where(path, n) for n, line in enumerate(text.split("\n"), 1) if line != line.rstrip()]
        if text and not text.endswith("\n"):
            faults.append(f"{where(path)}: the last line has no newline")
    none(faults)


# -- failpoints -----------------------------------------------------------------------------------


def failpoints_used(text):
    """The names in the text's PH_FAILPOINT(...) and PH_FAILPOINT_OFF(...)."""
    calls = re.findall(r"\bPH_FAILPOINT(?:_OFF)?\(([^;]*)\);|\bPH_FAILPOINT_OFF\(([^)]*)\)", text)
    return {name for call in calls for part in call for name in re.findall(r'"([^"]+)"', part)}


def test_failpoints_are_those_of_the_table():
    assert failpoints_used('PH_FAILPOINT(a ? "b" : "c");\nif (!PH_FAILPOINT_OFF("d"))') == {"b", "c", "d"}
    table = set(re.findall(r'\.name = "([^"]+)"', (ROOT / "src" / "base" / "failpoint.c").read_text()))
    used = {(name, where(path)) for path in SOURCES for name in failpoints_used(path.read_text())}
    none([f"{place}: {name} is not in src/base/failpoint.c" for name, place in sorted(used) if name not in table])
    assert {name for name, _ in used} >= {"tick.before", "kafka.produce.after", "park.after"}


# -- comments -------------------------------------------------------------------------------------


def test_each_source_opens_with_a_comment():
    none([where(p) for p in SOURCES if p.suffix == ".c" and not p.read_text().startswith("/*")])


PROTOTYPE = re.compile(r"^(?!typedef|static|#|\s|\}|/)[\w\s*]*?\b([a-z]\w*)\((?!\*)", re.M)
LIFE = ("_new", "_init", "_open", "_free", "_close", "_lock", "_unlock")  # the usual pairs say it themselves


def undocumented(text):
    """(line, name) of each function that is declared without a comment above it or its group: the
    lines around it without an empty one between, or a paragraph of comment alone before those."""
    code = bare(text).split("\n")
    lines = text.split("\n")
    depth, documented, only_comment = 0, False, False
    for number, (line, raw) in enumerate(zip(code, lines), 1):
        if not raw.strip():
            documented, only_comment = only_comment, False
            continue
        if not line.strip():  # a comment alone
            only_comment = only_comment or not documented
            documented = True
        elif depth == 0 and (match := PROTOTYPE.match(line)):
            only_comment = False
            if not documented and not match[1].endswith(LIFE):
                yield number, match[1]
        else:
            only_comment = False
        depth += line.count("{") - line.count("}")


def test_declared_functions_are_documented():
    none([f"{where(path, line)}: {name} has no comment" for path in SOURCES if path.suffix == ".h"
          for line, name in undocumented(path.read_text())])


def test_the_comment_check_sees_offences():
    good = "/* File. */\n#ifndef X\n\n/* Two. */\nint a(void);\nint b(int x,\n      int y);\n\n/* Group. */\n\nint c(void);\n"
    bad = "/* File. */\n#ifndef X\n\nint a(void);\n\n/* B. */\nstruct b {\n    int (*f)(void);\n};\n\nchar *d(int);\nvoid d_free(char *d);\n"
    assert list(undocumented(good)) == []
    assert [name for _, name in undocumented(bad)] == ["a", "d"]


# -- formatting -----------------------------------------------------------------------------------


def test_formatted():
    if shutil.which("clang-format") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no clang-format: run tools/deps.sh test")
    done = subprocess.run([ROOT / "tools" / "format.sh", "--check"], text=True, capture_output=True, timeout=120)
    files = sorted(set(re.findall(r"^([^:\s]+):\d+:\d+: error", done.stderr, re.M)))
    assert done.returncode == 0, "make format mends: " + " ".join(files) + "\n" + done.stderr[:1500]


# -- pages ----------------------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s+(\S+)", re.M)
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def broken_links(path):
    text = FENCE.sub("", path.read_text())
    for match in LINK.finditer(text):
        target = (match[1] or match[2]).split("#")[0]
        if target and not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
            yield target


def test_links_lead_somewhere():
    none([f"{where(page)}: {target}" for page in FILES if page.suffix == ".md" for target in broken_links(page)])


def names_of_tests():
    """Names of all tests in the tree: functions and files."""
    names = set()
    for path in below("test", "bench", suffixes=(".c", ".py")):
        names.add(path.stem)
        names.update(re.findall(r"\b(test_\w+)\s*\(", path.read_text()))
    return names


def test_each_guarantee_has_its_test():
    page = ROOT / "docs" / "guarantees.md"
    if not page.exists():
        pytest.skip("docs/guarantees.md is not written yet")
    named = {name for quoted in re.findall(r"`([^`\n]+)`", page.read_text()) for name in re.findall(r"\btest_\w+", quoted)}
    assert named, "docs/guarantees.md names no test"
    none([f"docs/guarantees.md: {name} is not in the tree" for name in sorted(named - names_of_tests())])
