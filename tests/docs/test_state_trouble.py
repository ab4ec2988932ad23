"""Each trouble of the state that the docs tell of is tried: on a real disk where there can be one."""

from importlib import import_module

import pytest

from tests.docs.pages import DOCS

ON_DISK = "tests.end_to_end.test_state"
TRIED_BY = {
    "disk full": (
        ON_DISK,
        "test_a_full_disk_stops_the_counting_but_not_the_serving_until_there_is_room_again",
        "test_a_start_on_a_full_disk_is_told_in_a_line_and_leaves_the_counts_untouched",
    ),
    "disk turned read-only": (
        ON_DISK,
        "test_a_disk_that_turns_read_only_stops_the_counting_but_not_the_serving",
    ),
    "file or its `-wal` removed while running": (
        ON_DISK,
        "test_a_state_removed_while_the_exporter_runs_is_written_anew_and_nothing_is_lost",
    ),
    "its directory removed": (
        ON_DISK,
        "test_a_removed_directory_is_told_and_made_again_nothing_is_lost",
    ),
    "another file moved into its place while running": (
        ON_DISK,
        "test_a_file_moved_into_the_place_of_the_state_is_told_and_left_alone",
    ),
    "damaged page": (ON_DISK, "test_a_damaged_page_stops_the_account_that_needs_it_and_no_other"),
    "wrong owner, no rights": (ON_DISK, "test_a_state_of_another_owner_is_told_and_left_untouched"),
    "older schema": (ON_DISK, "test_another_schema_is_refused_and_left_untouched"),
    "newer schema": (ON_DISK, "test_another_schema_is_refused_and_left_untouched"),
    "two processes": (
        ON_DISK,
        "test_of_two_processes_one_counts_even_when_the_lock_file_is_removed",
    ),
    "`.lock` removed while running": (
        ON_DISK,
        "test_of_two_processes_one_counts_even_when_the_lock_file_is_removed",
    ),
    "this machine's clock steps by a day": (
        "tests.feed.test_clock_steps",
        "test_a_clock_that_is_set_while_running_changes_no_count_and_stops_nothing",
    ),
}


def rows() -> list[str]:
    page = (DOCS / "when-things-go-wrong.md").read_text()
    _, after = page.split("| | what you read | the counts |\n|---|---|---|\n")
    table = after.split("\n\n", 1)[0]
    return [line.split("|")[1].strip() for line in table.splitlines()]


def test_no_trouble_is_told_that_is_not_tried() -> None:
    assert rows() == list(TRIED_BY)


@pytest.mark.parametrize("trouble", TRIED_BY)
def test_what_tries_it_is_there(trouble: str) -> None:
    module, *tests = TRIED_BY[trouble]
    assert [test for test in tests if not callable(getattr(import_module(module), test, None))] == []
