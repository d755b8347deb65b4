#!/usr/bin/python3
"""Embeds .sql files as C strings: sql/postgres/q_poll.sql becomes ph_sql_postgres_q_poll.

usage: embed_sql.py OUT.c OUT.h PREFIX FILE.sql...
A query's leading comment lines stay out of what is sent to the server, so that hot queries travel short.
"""
import pathlib
import sys


def body(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.name.startswith("q_"):
        lines = [line for line in lines if not line.lstrip().startswith("--")]
    return [line for line in lines if line.strip()]


def literal(line):
    return '    "' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"'


def main():
    out_c, out_h, prefix, *files = sys.argv[1:]
    guard = f"PH_{prefix.upper()}_H"
    header = [f"/* Made from the .sql files by tools/embed_sql.py. */\n#ifndef {guard}\n#define {guard}\n"]
    source = [f'#include "{pathlib.Path(out_h).name}"\n\n#pragma GCC diagnostic ignored "-Woverlength-strings"\n']
    for name in files:
        path = pathlib.Path(name)
        symbol = f"ph_{prefix}_{path.stem}" if not path.stem[0].isdigit() else f"ph_{prefix}_m{path.stem}"
        header.append(f"extern const char {symbol}[];")
        source.append(f"const char {symbol}[] =\n" + "\n".join(literal(x) for x in body(path)) + ";\n")
    header.append("\n#endif\n")
    pathlib.Path(out_h).write_text("\n".join(header), encoding="utf-8")
    pathlib.Path(out_c).write_text("\n".join(source), encoding="utf-8")


main()
