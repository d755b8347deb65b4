-- Makes a tick whatever others made, for start = latest. A transaction of its own, flushed at commit.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = on;
SELECT tick, snapshot FROM posthorn.make_tick(9223372036854775807);
COMMIT
