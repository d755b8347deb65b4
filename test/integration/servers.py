"""What tests import: the servers, the command, and waiting for a condition.

    from servers import Kafka, PgBouncer, Postgres, Posthorn, until

A server is started with start() or `with`, and has stop(), kill9(), restart(), pause(), resume(), close(),
port, pid, folder and log. Session-wide ones are fixtures of conftest.py; a test that kills a server makes
its own. Environment: POSTHORN_BUILD (build folder), POSTHORN_CACHE (fetched servers), POSTHORN_TMP (where
temporary folders lie), POSTHORN_KEEP=1 (keeps them), CI=true (a missing server fails).
"""

from kafka_server import Kafka, Record
from posthorn import SANITIZER_ENV, Posthorn, Relay, build_folder, check_sanitizer
from postgres_server import Database, PgBouncer, Postgres, newest_debian
from proc import ROOT, ServerDied, ServerMissing, free_port, temp_folder, until, within

__all__ = ["ROOT", "SANITIZER_ENV", "Database", "Kafka", "PgBouncer", "Postgres", "Posthorn", "Record",
           "Relay", "ServerDied", "ServerMissing", "build_folder", "check_sanitizer", "free_port",
           "newest_debian", "temp_folder", "until", "within"]
