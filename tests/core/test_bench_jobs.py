"""Which cell is next: cells that share kept states run on one worker, workers begin at different ones."""

from __future__ import annotations

from graftwork.bench.jobs import Job, take


def job(name: str, group: str) -> Job:
    return Job(name, f"/{name}", {}, {}, 1, False, group)


def test_a_worker_stays_with_its_group() -> None:
    waiting = [job("a1", "a"), job("b1", "b"), job("b2", "b")]
    assert take(waiting, "b", ["a"]).name == "b1"


def test_a_new_worker_begins_a_group_where_nobody_is() -> None:
    waiting = [job("a2", "a"), job("b1", "b")]
    assert take(waiting, "", ["a"]).name == "b1"


def test_at_the_end_workers_share_a_group() -> None:
    waiting = [job("a2", "a"), job("a3", "a")]
    assert take(waiting, "b", ["a"]).name == "a2"


def test_two_workers_make_every_group_once() -> None:
    """Over a whole suite: as long as there are groups nobody has begun, no two workers are at the same one."""
    waiting = [job(f"{group}{number}", group) for group in "abcd" for number in range(3)]
    last = ["", ""]
    at: list[str] = ["", ""]
    clashes = 0
    while waiting:
        for slot in (0, 1):
            if waiting:
                chosen = take(waiting, last[slot], [at[1 - slot]])
                waiting.remove(chosen)
                last[slot] = at[slot] = chosen.group
                clashes += at[0] == at[1]
    assert clashes == 0
