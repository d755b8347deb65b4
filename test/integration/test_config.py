"""The configuration as a person meets it: every mistake at its place in one pass, where values come from, secrets that
never show, and pages that are made from the option tables."""
import json
import os
import re
import subprocess

import pytest

from command import posthorn, tool
from proc import ROOT

SECRET = "t0p-s3cr3t"

GOOD = """\
defaults: {lease: 10s}
pipelines:
  orders:
    source: {uri: "postgresql:///shop", poll_max: 20ms}
    sink:
      uri: kafka://k:9092
      kafka: {compression.type: zstd}
    match: {event_type: "Order*|Refund", header: {priority: high}}
    route:
      rules:
        - {event_type: "Audit*", topic: audit}
    window: 3
  archive:
    source: {uri: "sqlite:shop.db"}
    sink: {uri: "file:out.ndjson"}
"""


def write(tmp_path, text, mode=0o600):
    path = tmp_path / "posthorn.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def mistakes(path, *words, env=None):
    done = posthorn("config", "check", "-c", path, *words, status=78, env=env)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("posthorn: ") for line in lines), done.stderr
    return [line.removeprefix("posthorn: ").removeprefix(f"{path}:") for line in lines]


def dumped(path, *words, env=None):
    """{pipeline: {key: (value, origin)}} of config dump."""
    found, pipeline, family = {}, None, ""
    for line in posthorn("config", "dump", "-c", path, *words, env=env).stdout.splitlines()[1:]:
        if match := re.fullmatch(r'  "([^"]+)":', line):
            pipeline = found.setdefault(match[1], {})
        elif match := re.fullmatch(r"    (\w+):", line):
            family = match[1] + "."
        elif match := re.fullmatch(r'(    |      )("[^"]+"): (".*")  # (.+)', line):
            key = ("" if len(match[1]) == 4 else family) + json.loads(match[2])
            pipeline[key] = (json.loads(match[3]), match[4])
        else:
            assert re.fullmatch(r" +# \w+ is not set", line), line
    return found


def test_a_good_file_is_said_to_be_good(tmp_path):
    path = write(tmp_path, GOOD)
    assert posthorn("config", "check", "-c", path).stdout == f"{path}: OK, 2 pipelines\n"
    assert posthorn("config", "check", env={"POSTHORN_CONFIG": str(path)}).stdout.endswith("OK, 2 pipelines\n")


def test_all_mistakes_in_one_pass_with_their_places(tmp_path):
    path = write(tmp_path, """\
defaults:
  window: 1000
pipelines:
  orders:
    source: {uri: "postgresql:///app", pol_max: 5ms, tick_min: soon}
    sink: {uri: "kafka://k:9092"}
    windov: 3
    route: {rules: [{event_type: A, topic: a}, {colour: red}]}
    start: tomorrow
  "bad name":
    source: {uri: "ftp://x"}
  other: &anchor
    source: {uri: "sqlite:x.db"}
    source: {uri: "sqlite:y.db"}
    sink: {uri: "stdout:"}
""")
    found = mistakes(path, "--set", "orders.batch_events=x", "--set", "nix.a=1",
                     env={"POSTHORN_SOURCE_POL_MAX": "3", "POSTHORN_SERVICE_HOST": "10.0.0.1"})
    for place, text in [("2:11: defaults: ", "window: 1000 is out of range"),
                        ("5:49: pipelines.orders: ", "unknown option (did you mean source.poll_max?)"),
                        ("5:64: pipelines.orders: ", '"soon" is not valid; expected a time with a unit'),
                        ("7:13: pipelines.orders: ", "unknown option windov (did you mean window?)"),
                        ("8:57: pipelines.orders: ", "route.rules.1.colour: unknown option"),
                        ("9:12: pipelines.orders: ", "start: \"tomorrow\" is not earliest"),
                        (" pipelines: ", '"bad name" must be 1 to 63'),
                        ("11:19: pipelines.bad name: ", 'source.uri: unknown kind of URI "ftp"'),
                        (" pipelines.bad name: ", "sink.uri is missing"),
                        ("12:10: ", "anchors and tags are not allowed"),
                        ("14:5: ", "source is given twice; the first one is at"),
                        ("--set: orders: ", 'batch_events: "x" is not valid; expected a whole number'),
                        ("--set nix.a: ", "write it as PIPELINE.KEY=VALUE"),
                        ("POSTHORN_SOURCE_POL_MAX: ", "did you mean ...SOURCE_POLL_MAX?")]:
        assert any(line.startswith(place) and text in line for line in found), (place, text, found)
    assert len(found) == 14


def test_what_is_said_once_holds_for_all_but_is_refused_once(tmp_path):
    path = write(tmp_path, GOOD.replace("lease: 10s", "lease: never"))
    assert len(mistakes(path)) == 1
    path = write(tmp_path, GOOD.replace("lease: 10s", "source.tick_min: 5ms"))  # SQLite has none
    assert dumped(path)["orders"]["source.tick_min"] == ("5ms", f"{path}:1:29")
    assert "source.tick_min" not in dumped(path)["archive"]


@pytest.mark.parametrize("text, said", [
    ("", "has no pipeline"), ("pipelines: {}", "has no pipeline"), ("# nothing\n", "has no pipeline"),
    ("pipelines: {a: }", "source.uri is missing"), ("pipelines: [1]", "expected a mapping"),
    ("pipelines: {a: {source: {uri: 'sqlite:x'", "not YAML"), ("\tx", "not YAML"), ("a: b: c", "not YAML"),
    ("x" * (1 << 20) + "x", "larger than 1 MiB"), ("pipelines: \x00", "not UTF-8"), ("[" * 100000, "nested too deep"),
])
def test_what_is_no_configuration(tmp_path, text, said):
    assert said in "\n".join(mistakes(write(tmp_path, text)))


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff\xfe\x00a")])
def test_a_file_that_cannot_be_read(tmp_path, make):
    path = tmp_path / "posthorn.yaml"
    make(path)
    done = posthorn("config", "check", "-c", path, status=78)
    assert str(path) in done.stderr


@pytest.mark.parametrize("place", ["configuration", "secret"])
def test_a_fifo_without_a_writer_holds_nobody_up(tmp_path, place):
    path = tmp_path / "posthorn.yaml"
    os.mkfifo(tmp_path / "fifo")
    if place == "secret":
        write(tmp_path, f"pipelines: {{a: {{source: {{uri_file: {tmp_path}/fifo}}, sink: {{uri: 'stdout:'}}}}}}")
    done = posthorn("config", "check", "-c", path if place == "secret" else tmp_path / "fifo", status=78, timeout=10)
    assert ("is empty" if place == "secret" else "has no pipeline") in done.stderr


def test_a_configuration_from_a_pipe():
    assert "OK, 2 pipelines" in posthorn("config", "check", "-c", "/dev/stdin", stdin=GOOD).stdout


@pytest.mark.parametrize("word", [f"postgresql://u:{SECRET}@h/d", f"orders.source.uri:postgresql://u:{SECRET}@h/d",
                                  f"postgresql://u:{SECRET}@h/d?a=b", f"orders.postgresql://u:{SECRET}@h/d?a=b"])
def test_a_uri_in_the_place_of_a_key_is_not_shown(tmp_path, word):
    done = posthorn("config", "check", "-c", write(tmp_path, GOOD), "--set", word, status=78)
    assert SECRET not in done.stderr and "***" in done.stderr
    done = posthorn("run", "--from", "sqlite:x.db", "--to", "stdout:", "--set", word, status=78)
    assert SECRET not in done.stderr


def test_a_uri_in_the_place_of_a_mapping(tmp_path):
    found = mistakes(write(tmp_path, "pipelines: {a: {source: 'sqlite:x.db', sink: {uri: 'stdout:'}}}"))
    assert "1:25: pipelines.a: source: expected a mapping of options, not one value" in found


def test_the_line_of_a_zero_byte(tmp_path):
    assert mistakes(write(tmp_path, "a: 1\nb: \x00\nc: 2\n")) == ["2:1: not UTF-8 text"]


def test_the_last_origin_wins_and_is_named(tmp_path):
    path = write(tmp_path, GOOD)
    env = {"POSTHORN_LEASE": "20s", "POSTHORN_ORDERS__WINDOW": "5", "POSTHORN_ORDERS__SINK_KAFKA_LINGER_MS": "7",
           "OUTBOX_POLL_INTERVAL": "30", "OUTBOX_RETENTION_DAYS": "14", "POSTHORN_SOURCE_RETENTION": "21d"}
    found = dumped(path, "--set", "*.batch_events=9", "--set", "orders.batch_events=8", env=env)
    orders, archive = found["orders"], found["archive"]
    assert orders["window"] == ("5", "POSTHORN_ORDERS__WINDOW") and archive["window"] == ("4", "default")
    assert orders["lease"] == archive["lease"] == ("20s", "POSTHORN_LEASE")
    assert orders["batch_events"] == ("8", "--set") and archive["batch_events"] == ("9", "--set")
    assert orders["source.poll_max"] == archive["source.poll_max"] == ("30ms", "OUTBOX_POLL_INTERVAL")
    assert orders["source.retention"] == ("21d", "POSTHORN_SOURCE_RETENTION")
    assert orders["sink.kafka.linger.ms"] == ("7", "POSTHORN_ORDERS__SINK_KAFKA_LINGER_MS")
    assert orders["sink.kafka.compression.type"] == ("zstd", f"{path}:7:33")
    assert orders["match.header.priority"] == ("high", f"{path}:8:61")
    assert orders["route.rules.0.topic"] == ("audit", f"{path}:11:41")
    assert dumped(path)["orders"]["source.poll_max"] == ("20ms", f"{path}:4:51")
    assert dumped(path)["orders"]["lease"] == ("10s", f"{path}:1:19")


def test_a_dump_can_be_read_again(tmp_path):
    path = write(tmp_path, GOOD)
    first = posthorn("config", "dump", "-c", path).stdout
    again = tmp_path / "again.yaml"
    again.write_text(first)
    second = posthorn("config", "dump", "-c", again).stdout
    strip = lambda text: re.sub(r"  # .*", "", text)
    assert strip(first) == strip(second)


def test_secrets_are_masked_wherever_they_come_from(tmp_path):
    path = write(tmp_path, f"""\
pipelines:
  a:
    source: {{uri: "postgresql://u:{SECRET}@h/db"}}
    sink: {{uri: "kafka://k:9092", kafka: {{sasl.password: {SECRET}, ssl.key.pem: {SECRET}, client.id: c}}}}
  b:
    source: {{uri_file: {tmp_path}/uri}}
    sink: {{uri: "stdout:"}}
""")
    (tmp_path / "uri").write_text(f"postgresql://u:{SECRET}@h/db\n")
    env = {"POSTHORN_A__SINK_KAFKA_SSL_KEY_PASSWORD": SECRET}
    done = posthorn("config", "dump", "-c", path, env=env)
    assert SECRET not in done.stdout + done.stderr and '"***"' in done.stdout
    assert "host=h" in done.stdout or "@h" in done.stdout
    assert dumped(path)["b"]["source.uri"][1] == f"{path}:6:24"
    for wrong in (f"kafka://u:{SECRET}", f"ftp://u:{SECRET}@h", f"postgresql://u:{SECRET}@h:nonsense/db?nix=1"):
        bad = write(tmp_path, f"pipelines: {{a: {{source: {{uri: '{wrong}', nix: 1}}, sink: {{uri: 'stdout:'}}}}}}")
        done = posthorn("config", "check", "-c", bad, status=78)
        assert SECRET not in done.stdout + done.stderr


def test_a_file_that_everybody_reads_holds_no_secret(tmp_path):
    text = GOOD.replace("postgresql:///shop", f"postgresql://u:{SECRET}@h/db")
    found = mistakes(write(tmp_path, text, 0o644))
    assert len(found) == 1 and found[0].startswith("4:19: ") and "chmod 640" in found[0] and SECRET not in found[0]
    posthorn("config", "check", "-c", write(tmp_path, text, 0o640))
    posthorn("config", "check", "-c", write(tmp_path, GOOD, 0o644))


def test_a_secret_is_no_word(tmp_path):
    done = posthorn("run", "--from", "sqlite:x.db", "--to", "kafka://k:9092", "--set", f"sink.kafka.sasl.password={SECRET}", status=78)
    assert "would show a secret on the command line; use sink.kafka.sasl.password_file=PATH" in done.stderr and SECRET not in done.stderr
    path = write(tmp_path, GOOD)
    done = posthorn("config", "check", "-c", path, "--set", f"orders.sink.kafka.sasl.password={SECRET}",
                    "--set", f"sasl.password{SECRET}", status=78)
    assert "would show a secret" in done.stderr and SECRET not in done.stderr


def test_a_secret_below_a_map_is_read_from_its_file(tmp_path):
    (tmp_path / "pw").write_text(SECRET + "\n")
    path = write(tmp_path, GOOD.replace("{compression.type: zstd}", f"{{sasl.password_file: {tmp_path}/pw}}"))
    assert dumped(path)["orders"]["sink.kafka.sasl.password"] == ("***", f"{path}:7:35")
    env = {"POSTHORN_ORDERS__SINK_KAFKA_SSL_KEY_PASSWORD_FILE": str(tmp_path / "pw")}
    assert dumped(path, env=env)["orders"]["sink.kafka.ssl.key.password"][0] == "***"
    (tmp_path / "pw").write_text("")
    assert "7:35: pipelines.orders: sink.kafka.sasl.password_file: " in mistakes(path)[0] and "is empty" in mistakes(path)[0]
    (tmp_path / "pw").unlink()
    assert "cannot be read" in mistakes(path)[0]


def test_a_uri_and_its_file(tmp_path):
    """Both in one place are a mistake; else the later origin wins, whichever of the two it gives."""
    (tmp_path / "uri").write_text("sqlite:from-file.db")
    path = write(tmp_path, f"pipelines: {{a: {{source: {{uri: 'sqlite:x.db', uri_file: {tmp_path}/uri}}, sink: {{uri: 'stdout:'}}}}}}")
    assert mistakes(path) == ["1:31: pipelines.a: source.uri and source.uri_file: give one of the two"]
    path = write(tmp_path, "pipelines: {a: {source: {uri: 'sqlite:x.db'}, sink: {uri: 'stdout:'}}}")
    assert dumped(path, env={"POSTHORN_A__SOURCE_URI_FILE": str(tmp_path / "uri")})["a"]["source.uri"][0] == "sqlite:from-file.db"
    path = write(tmp_path, f"pipelines: {{a: {{source: {{uri_file: {tmp_path}/uri}}, sink: {{uri: 'stdout:'}}}}}}")
    assert dumped(path, "--set", "a.source.uri=sqlite:word.db")["a"]["source.uri"] == ("sqlite:word.db", "--set")


def test_a_list_in_the_place_of_a_uri(tmp_path):
    found = mistakes(write(tmp_path, "pipelines: {a: {source: {uri: ['sqlite:x']}, sink: {uri: 'stdout:'}}}"))
    assert found == ["1:32: pipelines.a: source.uri: expected one text, not a list or a mapping"]


def test_more_mistakes_than_can_be_shown(tmp_path):
    many = "".join(f"    nonsense_of_some_length_{i}: {'x' * 60}\n" for i in range(9000))
    done = posthorn("config", "check", "-c", write(tmp_path, "pipelines:\n  a:\n" + many), status=78)
    assert done.stderr.splitlines()[-1] == "posthorn: there are more mistakes than can be shown here"


def test_more_properties_than_there_is_room_for(tmp_path):
    many = ", ".join(f"p{i}: 1" for i in range(200))
    done = posthorn("config", "check", "-c", write(tmp_path, GOOD.replace("{compression.type: zstd}", f"{{{many}}}")), status=78)
    assert "more than 128 options below kafka" in done.stderr


def test_credentials_of_systemd(tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "db").write_text("sqlite:from-credentials.db\n")
    path = write(tmp_path, "pipelines: {a: {source: {uri_file: db}, sink: {uri: 'stdout:', }}}")
    found = dumped(path, env={"CREDENTIALS_DIRECTORY": str(folder)})
    assert found["a"]["source.uri"][0] == "sqlite:from-credentials.db"
    (tmp_path / "elsewhere").mkdir()
    assert "db cannot be read" in mistakes(path, env={"CREDENTIALS_DIRECTORY": str(tmp_path / "elsewhere")})[0]
    (folder / "db").write_text("\n")
    assert "is empty" in mistakes(path, env={"CREDENTIALS_DIRECTORY": str(folder)})[0]


def test_disabled_by_the_environment(tmp_path):
    path = write(tmp_path, GOOD)
    done = posthorn("run", "-c", path, env={"OUTBOX_ENABLED": "false"})
    assert "OUTBOX_ENABLED is false" in done.stderr
    assert "OUTBOX_ENABLED: expected true or false" in "\n".join(mistakes(path, env={"OUTBOX_ENABLED": "perhaps"}))


@pytest.mark.parametrize("words, said", [(["nix"], "none of check, dump and docs"), (["check"], "--config FILE is missing"),
                                         (["docs", "--format", "pdf"], "must be md, man, schema or example")])
def test_wrong_words(words, said):
    assert said in posthorn("config", *words, status=64).stderr


@pytest.mark.parametrize("form, name", [("md", "config.md"), ("schema", "posthorn.schema.json"), ("example", "posthorn.example.yaml")])
def test_the_pages_are_current(form, name):
    """To mend: posthorn config docs --format FORM > docs/NAME"""
    made = posthorn("config", "docs", "--format", form).stdout
    if form == "schema":
        made = json.dumps(json.loads(made), indent=1, ensure_ascii=False) + "\n"
    assert made == (ROOT / "docs" / name).read_text()


def test_every_option_is_on_every_page():
    help_page = posthorn("help", "run").stdout
    keys = re.findall(r"^  ((?:source|sink|route|match)\.[\w.*]+|[a-z_]+)=", help_page, re.M)
    assert len(keys) > 20
    page, example = (posthorn("config", "docs", "--format", f).stdout for f in ("md", "example"))
    manual = posthorn("config", "docs", "--format", "man").stdout.replace("\\", "")
    for key in {k for k in keys if not k.startswith("route.rules")}:
        name = key.split(".", 1)[-1].removesuffix(".*")
        assert f"`{key}`" in page and f"*{key}*" in manual.replace("*.*", ".*") + page, key
        assert f"#{name}:" in example, key


def test_the_schema_knows_the_example_and_its_mistakes():
    jsonschema, yaml = pytest.importorskip("jsonschema"), pytest.importorskip("yaml")
    schema = json.loads((ROOT / "docs" / "posthorn.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    judge = jsonschema.Draft202012Validator(schema)
    for text in ((ROOT / "docs" / "posthorn.example.yaml").read_text(), GOOD):
        assert list(judge.iter_errors(yaml.safe_load(text))) == []
    for wrong in ("windov: 3", "window: 1000", "sauce: {uri: x}", "sink: {fsync: perhaps}", "lease: soon",
                  "route: {envelope: nix}", "source: {pol_max: 5ms}"):
        assert list(judge.iter_errors(yaml.safe_load(f"pipelines: {{a: {{{wrong}}}}}"))), wrong


def test_the_example_is_a_good_file():
    assert "OK, 1 pipeline" in posthorn("config", "check", "-c", ROOT / "docs" / "posthorn.example.yaml").stdout


def test_the_manual_can_be_made(tmp_path):
    source = posthorn("config", "docs", "--format", "man").stdout
    try:
        made = subprocess.run(["scdoc"], input=source, text=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("scdoc is not installed: tools/deps.sh ci")
    assert made.returncode == 0, made.stderr
    assert "source.poll_max" in made.stdout.replace("\\", "") and tool().binary.exists()
