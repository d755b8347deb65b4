#!/usr/bin/python3
"""Counts tests over JUnit files.

summary.py record FOLDER NAME STATUS SECONDS [JUNIT]   keeps a step's result in FOLDER; JUNIT may be a
                                                       folder below it, which then stays as it is
summary.py sum FOLDER                                  says what failed; ends with N passed, N failed, N skipped
"""

import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


# How timeout(1) ends what it lets run no longer.
ENDED = {"0": None, "124": "ended by its time limit", "137": "killed, by its time limit or for want of memory"}


def outcome(case):
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def cases(path):
    """(name, outcome) of each test in a JUnit file; a broken file is one failed test."""
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError) as error:
        return [(f"{path.name} is no JUnit file: {error}", "failed")]
    return [(f"{case.get('classname') or ''} {case.get('name')}".strip(), outcome(case))
            for case in root.iter("testcase")]


def write_case(path, name, seconds, failure=None):
    suite = ET.Element("testsuite", name=name)
    case = ET.SubElement(suite, "testcase", name=f"{name}, {failure}" if failure else name, time=seconds)
    if failure:
        ET.SubElement(case, "failure", message=failure)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def record(folder, name, status, seconds, junit=None):
    target = Path(folder, re.sub(r"\W+", "-", name) + ".xml")
    failure = ENDED.get(status, f"exit status {status}")
    if junit is None:
        write_case(target, name, seconds, failure)
        return
    found = []
    if Path(junit).is_dir():
        found = [case for path in Path(junit).rglob("*.xml") for case in cases(path)]
    elif Path(junit).exists():
        shutil.move(junit, target)
        found = cases(target)
    if not found:
        failure = failure or "it ran no test"
    if failure and not any(result == "failed" for _, result in found):
        write_case(target.with_suffix(".status.xml"), name, seconds, failure)


def total(folder):
    count = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for path in sorted(Path(folder).rglob("*.xml")):
        for name, result in cases(path):
            count[result] += 1
            if result != "passed":
                print(f"{result}: {path.relative_to(folder).with_suffix('')}: {name}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 0 if count["failed"] == 0 and count["passed"] > 0 else 1


def main(words):
    if words[:1] == ["record"] and len(words) in (5, 6):
        record(*words[1:])
        return 0
    if words[:1] == ["sum"] and len(words) == 2:
        print()
        return total(words[1])
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
