-- Makes a tick unless another reader made one behind :known, and lists what is there then. A transaction of its own, flushed at commit.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = on;
SELECT tick FROM posthorn.make_tick(:known);
SELECT tick, snapshot::text FROM posthorn.tick WHERE tick > :known ORDER BY tick LIMIT :limit;
COMMIT
