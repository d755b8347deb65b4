#!/usr/bin/env python3
"""The table of the fault matrix, from the lines that test/fault/matrix.py recorded.

    tools/matrix.py FILE...                          prints the table as Markdown
    tools/matrix.py --into docs/reliability.md FILE...   puts it between that page's lines <!-- matrix --> and <!-- /matrix -->

The last record of a row, fault and guarantee counts: a test run again replaces its line.
"""
import argparse
import json
import sys
from pathlib import Path

COLUMNS = ("row", "fault", "guarantee", "faults", "hits", "events", "lost", "phantom", "reordered", "duplicates")
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"


def last_records(paths):
    """{(row, fault, guarantee): record}, ordered by row; the last of each."""
    found = {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            seen = json.loads(line)
            found[seen["row"], seen["fault"], seen["guarantee"]] = seen
    return [found[place] for place in sorted(found, key=lambda p: (p[0], p[1], p[2]))]


def cell(value):
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|")


def origin(records):
    """Where and when the records were made; several machines or commands are all named."""
    def each(name, shown):
        return list(dict.fromkeys(shown(r[name]) for r in records))

    days = sorted({r["at"][:10] for r in records})
    period = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    machines = each("machine", lambda m: f"{m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}")
    commands = each("command", lambda c: f"`{c}`")
    amounts = " and ".join(each("amount", str))
    return f"Recorded {period} on {'; '.join(machines)}; {amounts} amounts, by {', '.join(commands)}."


def table(records):
    rows = [origin(records), "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    notes = []
    for r in records:
        mark = ""
        if r["note"]:
            if r["note"] not in notes:
                notes.append(r["note"])
            mark = f" ({notes.index(r['note']) + 1})"
        cells = [cell(r[name]) + (mark if name == "fault" else "") for name in COLUMNS]
        rows.append("| " + " | ".join(cells) + " |")
    rows += [""] + [f"({i}) {note}" for i, note in enumerate(notes, 1)] if notes else []
    return "\n".join(rows) + "\n"


def put_into(page, text):
    old = page.read_text(encoding="utf-8")
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        sys.exit(f"{page} must hold the lines {BEGIN} and {END} once")
    head, rest = old.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{text}{END}{rest.split(END)[1]}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="The table of the fault matrix")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="a page that holds the table between its two marks")
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args()
    records = last_records(options.files)
    if not records:
        sys.exit("no record in " + ", ".join(options.files))
    if options.into:
        put_into(options.into, table(records))
    else:
        print(table(records), end="")


if __name__ == "__main__":
    main()
