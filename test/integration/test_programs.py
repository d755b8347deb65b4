"""The C programs of test/integration/c, each against the real server that it needs."""
import os
import re
import subprocess

import pytest

from servers import SANITIZER_ENV, build_folder, check_sanitizer


def run_program(name, limit_s=400, **env):
    program = build_folder() / "test" / "integration" / name
    if not os.access(program, os.X_OK):
        pytest.skip(f"{name} is not built")
    done = subprocess.run([str(program)], env={**os.environ, **SANITIZER_ENV, "ASAN_OPTIONS": "handle_segv=2", **env}, text=True,
                          capture_output=True, timeout=limit_s)
    text = done.stdout + done.stderr
    check_sanitizer(text)
    assert done.returncode == 0, text[-4000:]
    assert re.search(r"PASSED  \] [1-9]", text), f"no test ran: {text[-1000:]}"


@pytest.mark.timeout(420)
@pytest.mark.parametrize("server", ["pg15", "pg18"])
def test_source_postgres(request, posthorn, server):
    """The same sequence at every resume point, batch size and page size; fencing; the sink's newer checkpoint."""
    with request.getfixturevalue(server).fresh_database() as db:
        posthorn.init(db.dsn())
        run_program("source_postgres_test", PH_TEST_PG=db.dsn())


@pytest.mark.timeout(420)
def test_kafka_refusals(kafka):
    """One poison event in a burst is found; nothing later of its key is in the topic."""
    kafka.create_topic("poison", config={"max.message.bytes": "30000"})
    kafka.create_topic("small", config={"max.message.bytes": "2000"})
    kafka.create_topic("compacted", config={"cleanup.policy": "compact"})
    kafka.create_topic("plain")
    run_program("kafka_real_test", PH_TEST_KAFKA=kafka.bootstrap)


@pytest.mark.timeout(420)
def test_kafka_transactions(kafka):
    """Who resumes shuts out whoever wrote before; a poison event is found; a row that came due is sent once."""
    kafka.create_topic("txn-poison", config={"max.message.bytes": "30000"})
    for name in ("txn-plain", "txn-open", "txn-left", "txn-rows"):
        kafka.create_topic(name)
    run_program("kafka_txn_real_test", PH_TEST_KAFKA=kafka.bootstrap)
