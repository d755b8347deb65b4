"""The relay is killed at each failpoint in turn: before and after it takes the lease, stores a tick, produces, stores its checkpoint
and parks. What a build with failpoints is armed with is checked too, and that no other build knows of them.

POSTHORN_FAULTS=full kills at each point 20 times; otherwise twice. POSTHORN_SEED repeats a run's choices.
"""
import pytest

ARMED = "POSTHORN_FAILPOINTS"


@pytest.mark.smoke
def test_no_failpoint_is_in_the_program(posthorn, faulty):
    assert ARMED.encode() not in posthorn.binary.read_bytes()
    assert ARMED.encode() in faulty.binary.read_bytes()
    assert posthorn.run("--version", env={ARMED: "no.such=kill"}, check=True)


@pytest.mark.smoke
@pytest.mark.parametrize("text", ["no.such=kill", "tick.before", "tick.before=off", "tick.before=kill@0", "kafka.hygiene=kill"])
def test_a_mistake_in_the_environment_is_an_error(faulty, text):
    done = faulty.run("--version", env={ARMED: text})
    assert done.returncode == 78 and done.stderr.startswith(f"posthorn: {ARMED}: {text}: "), done
    assert done.stdout == "" and done.stderr.count("\n") == 1
