"""Fixtures of the tests on real servers: test/integration and test/fault.

A server that this machine lacks is a skip with the reason, and with CI=true a failure. Nothing is
imported and started before a test asks for it: test/style needs none of it.
"""

import os

import pytest


def pytest_configure(config):
    """POSTHORN_BUILD names the build folder whose binary is tested; POSTHORN is that binary."""
    try:
        import servers
    except ImportError:  # test/style alone needs no database client
        return
    os.environ.setdefault("POSTHORN", str(servers.build_folder() / "src" / "cli" / "posthorn"))
    for name, value in servers.SANITIZER_ENV.items():
        os.environ.setdefault(name, value)


def started(make):
    """A started server, or the skip (in CI the failure) that says why there is none."""
    import servers

    try:
        return make(servers).start()
    except servers.ServerMissing as why:
        missing(why)


def missing(why):
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {why}", pytrace=False)
    pytest.skip(str(why))


def session_server(make):
    @pytest.fixture(scope="session")
    def fixture():
        server = started(make)
        yield server
        server.close()

    return fixture


# Shared by all tests of a run and never killed; a test takes a database, or topics, of its own.
pg15 = session_server(lambda servers: servers.Postgres(15, fsync=False))
pg18 = session_server(lambda servers: servers.Postgres(18, fsync=False))
kafka = session_server(lambda servers: servers.Kafka())


@pytest.fixture(scope="session")
def pgbouncer(pg15):
    """PgBouncer in transaction mode in front of pg15."""
    server = started(lambda servers: servers.PgBouncer(pg15))
    yield server
    server.close()


@pytest.fixture
def database(pg15):
    """An empty database on pg15, dropped behind the test."""
    with pg15.fresh_database() as db:
        yield db


@pytest.fixture(params=["pg15", "pg18"])
def each_database(request):
    """The test runs twice: an empty database on PostgreSQL 15, and one on 18."""
    with request.getfixturevalue(request.param).fresh_database() as db:
        yield db


@pytest.fixture
def posthorn():
    """The posthorn command; its relays are ended behind the test."""
    import servers

    try:
        command = servers.Posthorn()
    except servers.ServerMissing as why:
        missing(why)
    yield command
    command.close()


@pytest.fixture
def faulty():
    """The posthorn command of a build with failpoints, build-faults/ or POSTHORN_FAULTS_BUILD."""
    import servers

    folder = servers.ROOT / os.environ.get("POSTHORN_FAULTS_BUILD", "build-faults")
    binary = folder / "src" / "cli" / "posthorn"
    if not os.access(binary, os.X_OK):
        missing(f"no {binary}: run tools/failpoints.sh")
    command = servers.Posthorn(binary)
    yield command
    command.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the ends of its relays' logs."""
    outcome = yield
    fixtures = getattr(item, "funcargs", {})
    command = fixtures.get("posthorn", fixtures.get("faulty"))
    if outcome.get_result().failed and command is not None and command.relays:
        outcome.get_result().sections.append(("relay logs", command.logs()))
