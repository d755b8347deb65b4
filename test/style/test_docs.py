"""The documentation says what the code says: messages, commands, files and links."""

import re

from test_style import ROOT, none, where

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LITERAL = re.compile(r'"((?:\\.|[^"\\\n])*)"(\s*(?:PRI\w+\s*)?(?="))?')


def literals():
    """All string literals of the sources, neighbours joined as the compiler joins them."""
    text = []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        for match in LITERAL.finditer(path.read_text()):
            text.append(match[1] + ("" if match[2] is not None else "\n"))
    return "".join(text).replace('\\"', '"')


def test_literals_are_joined():
    assert "the database has no schema posthorn, or not all of it: run posthorn init DB-URI" in literals()


def messages(path):
    """(line, text) of what a table's first column quotes; texts of several words only."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r"\| `([^`]+ [^`]+)`", line)
        if match:
            yield number, match[1]


def test_troubleshooting_quotes_what_the_code_says():
    path, said = ROOT / "docs" / "troubleshooting.md", literals()
    found = list(messages(path))
    assert len(found) > 15
    none([f"{where(path, line)}: nothing in src/ says {text!r}" for line, text in found if text not in said])


def commands():
    return {match for path in (ROOT / "src" / "cli").glob("cmd_*.c")
            for match in re.findall(r"const struct ph_command ph_cmd_\w+ = \{\s*\.name = \"(\w+)\"", path.read_text())}


def test_documented_commands_exist():
    known = commands()
    assert {"run", "init", "help"} <= known
    faults = []
    for path in DOCS:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word in re.findall(r"(?:^|[`$&;] ?)posthorn ([a-z]+)\b(?! is)", line):
                if word not in known:
                    faults.append(f"{where(path, number)}: there is no command posthorn {word}")
    none(faults)


def test_each_command_is_documented():
    text = "\n".join(path.read_text() for path in DOCS)
    none([f"no page speaks of posthorn {word}" for word in sorted(commands()) if f"posthorn {word}" not in text])
