"""What a control group allows, read from real trees of files as the kernel lays them out in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.machine.cgroup import cpu_quota, memory_limit

MIB = 2**20


def tree(root: Path, cgroup: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A root with /proc/self and the files of control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text("\n".join(mounts))
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def version_2(root: Path, files: dict[str, str], path: str = "/a/b", top: str = "/") -> Path:
    mount = f"30 23 0:26 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
    return tree(root, f"0::{path}\n", [mount], {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def test_version_2_counts_the_group_that_leaves_the_least(tmp_path: Path) -> None:
    files = {
        "a/memory.max": str(1000 * MIB), "a/memory.current": str(900 * MIB), "a/memory.stat": "anon 5\ninactive_file 0",
        "a/b/memory.max": str(500 * MIB), "a/b/memory.current": str(300 * MIB), "a/b/memory.stat": "inactive_file 0",
    }  # fmt: skip
    found = memory_limit(version_2(tmp_path, files))
    assert found is not None
    assert (found.limit, found.left) == (1000 * MIB, 100 * MIB)
    assert found.where.endswith("/a/memory.max")


def test_the_softer_limit_counts_too_since_beyond_it_a_process_is_stopped_again_and_again(tmp_path: Path) -> None:
    files = {"a/b/memory.max": "max", "a/b/memory.high": str(400 * MIB), "a/b/memory.current": str(100 * MIB)}
    found = memory_limit(version_2(tmp_path, files))
    assert found is not None and found.left == 300 * MIB and found.where.endswith("memory.high")


def test_file_pages_that_can_be_dropped_are_free(tmp_path: Path) -> None:
    stat = f"inactive_file {150 * MIB}\nactive_file {600 * MIB}"
    files = {"a/b/memory.max": str(1000 * MIB), "a/b/memory.current": str(900 * MIB), "a/b/memory.stat": stat}
    found = memory_limit(version_2(tmp_path, files))
    assert found is not None and found.left == (100 + 150 + 600 - 512) * MIB, "libraries in use stay"


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"a/b/memory.max": str(100 * MIB), "a/b/memory.current": str(101 * MIB)}
    found = memory_limit(version_2(tmp_path, files))
    assert found is not None and found.left == 0


@pytest.mark.parametrize("text", ["max", ""])
def test_no_limit_is_none(tmp_path: Path, text: str) -> None:
    assert memory_limit(version_2(tmp_path, {"a/b/memory.max": text, "a/b/memory.current": "5"})) is None


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None and cpu_quota(tmp_path) is None


def test_a_container_finds_its_group_where_it_is_mounted(tmp_path: Path) -> None:
    """The host's path is in /proc/self/cgroup, and its folder is the top of what the container sees."""
    files = {"memory.max": str(200 * MIB), "memory.current": str(50 * MIB), "cpu.max": "250000 100000"}
    root = version_2(tmp_path, files, path="/docker/4f1", top="/docker/4f1")
    found = memory_limit(root)
    assert found is not None and found.left == 150 * MIB
    assert cpu_quota(root) == 2.5


def test_a_path_outside_of_the_mount_counts_as_its_top(tmp_path: Path) -> None:
    root = version_2(tmp_path, {"memory.max": str(200 * MIB), "memory.current": "0"}, path="/../../other")
    found = memory_limit(root)
    assert found is not None and found.left == 200 * MIB


def version_1(root: Path, files: dict[str, str]) -> Path:
    mounts = [
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    ]
    cgroup = "4:memory:/job\n1:cpu,cpuacct:/job\n0::/\n"
    return tree(root, cgroup, mounts, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def test_version_1_knows_no_limit_by_a_number_beyond_all_memory(tmp_path: Path) -> None:
    files = {"memory/job/memory.limit_in_bytes": "9223372036854771712", "memory/job/memory.usage_in_bytes": "5"}
    assert memory_limit(version_1(tmp_path, files)) is None


def test_version_1_counts_limits_of_groups_that_cannot_be_seen(tmp_path: Path) -> None:
    files = {
        "memory/job/memory.limit_in_bytes": "9223372036854771712",
        "memory/job/memory.usage_in_bytes": str(100 * MIB),
        "memory/job/memory.stat": f"inactive_file 1\ntotal_inactive_file {20 * MIB}\nhierarchical_memory_limit {300 * MIB}",
    }
    found = memory_limit(version_1(tmp_path, files))
    assert found is not None and found.left == 220 * MIB


@pytest.mark.parametrize(("quota", "expected"), [("-1", None), ("150000", 1.5)])
def test_version_1_says_how_much_processor_time_there_is(tmp_path: Path, quota: str, expected: float | None) -> None:
    files = {"cpu,cpuacct/job/cpu.cfs_quota_us": quota, "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}
    assert cpu_quota(version_1(tmp_path, files)) == expected


def test_the_smallest_quota_around_a_process_counts(tmp_path: Path) -> None:
    files = {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000", "cpu.max": "max 100000"}
    assert cpu_quota(version_2(tmp_path, files)) == 1.5
