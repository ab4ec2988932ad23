"""Disks that are full, read-only or fail: nothing is lost, and the exporter comes back by itself.

On real file systems; docs/when-things-go-wrong.md says it.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.alerting.servers import needs
from tests.end_to_end.counts import fallen
from tests.end_to_end.programs import Exporter, Sandbox, account, wait_for_truth
from tests.end_to_end.states import ends_with, keep_state_at, starts_again, stays_at


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB, more than the state and its log ever take here. Needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes up all the room there is."""
    stuffing = folder / "stuffing"
    with stuffing.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return stuffing


def test_a_start_on_a_full_disk_is_told_in_a_line_and_leaves_the_counts_untouched(
    counted: tuple[Sandbox, Path], stopped: Exporter, small_disk: Path
) -> None:
    stuffing = fill(small_disk)
    keep_state_at(stopped, small_disk / "state.db")
    stopped.configure({"accounts": [account(counted[0])]})
    ends_with(stopped, "make room on the disk")
    stuffing.unlink()
    keep_state_at(stopped, small_disk / "state.db", counted)
    stuffing = fill(small_disk)
    ends_with(stopped, "make room on the disk")
    ends_with(stopped, "a stopped one must be started")
    stuffing.unlink()
    starts_again(stopped, counted[0], {})


def test_a_full_disk_stops_the_counting_but_not_the_serving_until_there_is_room_again(
    counted: tuple[Sandbox, Path], stopped: Exporter, small_disk: Path
) -> None:
    keep_state_at(stopped, small_disk / "state.db", counted)
    starts_again(stopped, counted[0], {})
    before = stopped.counts()
    stuffing = fill(small_disk)
    stays_at(stopped, counted[0], before, "make room on the disk")
    stuffing.unlink()
    wait_for_truth(stopped, counted[0])
    assert fallen(before, stopped.counts()) == []
    assert stopped.log.count("make room on the disk") == 1
    assert "state works again" in stopped.log
    assert stopped.stop() == 0


@needs("mount")
def test_a_state_on_a_read_only_disk_is_told_in_a_line_and_serves_again_later(
    counted: tuple[Sandbox, Path], stopped: Exporter, small_disk: Path
) -> None:
    keep_state_at(stopped, small_disk / "state.db", counted)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ends_with(stopped, "")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    starts_again(stopped, counted[0], {})


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """An ext4 that turns read-only at a fault, as after a real one, with what brings that about and what repairs it."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    mount = ["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)]
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False)
    if made.returncode or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")

    def fault() -> None:
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", str(folder)], capture_output=True, text=True, check=True
        ).stdout.strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")

    def repair() -> None:
        subprocess.run(["umount", str(folder)], check=True)
        subprocess.run(["fsck.ext4", "-p", "-f", str(image)], capture_output=True, check=False)
        subprocess.run(mount, check=True)

    yield folder, fault, repair
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@needs("mkfs.ext4")
def test_a_disk_that_turns_read_only_stops_the_counting_but_not_the_serving(
    counted: tuple[Sandbox, Path],
    stopped: Exporter,
    failing_disk: tuple[Path, Callable[[], None], Callable[[], None]],
) -> None:
    folder, fault, repair = failing_disk
    keep_state_at(stopped, folder / "state.db", counted)
    starts_again(stopped, counted[0], {})
    before = stopped.counts()
    fault()
    stays_at(stopped, counted[0], before, "state failed, retrying")
    assert "the exporter retries and resumes by itself" in stopped.log
    assert stopped.stop() == 0
    repair()
    starts_again(stopped, counted[0], before)
