"""What `posthorn help` says there is: the commands and their options, for tests that nothing is left out."""

import re

from command import posthorn


def commands():
    page = posthorn("help").stdout
    listed = page.split("\nCommands:\n")[1].split("\n\n")[0]
    found = re.findall(r"^  ([a-z]+)(?:\s|$)", listed, re.M)
    assert {"run", "publish", "verify", "help"} <= set(found)
    return found


def options(command):
    """NAME -> what its value is called ("" for a flag)."""
    page = posthorn("help", command).stdout
    listed = page.split("\nOptions:\n")[1].split("\n\n")[0]
    found = dict(re.findall(r"^  (?:-\w, )?--([a-z-]+) ?(\S*?)(?:\.\.\.)?(?:\s|$)", listed, re.M))
    assert "help" in found and "log-format" in found
    return found


def settings():
    """The keys of --set, without what a map takes below them."""
    keys = re.findall(r"^  ([a-z_.]+?)(?:\*|N\.FIELD)?=", posthorn("help", "run").stdout.split("Keys of --set:")[1], re.M)
    assert "batch_events" in keys and "route.topic" in keys
    return keys
