"""Each trouble of the state that the docs tell of is tried: on a real disk where there can be one."""

from tests.docs.pages import DOCS
from tests.end_to_end import test_disks as disks
from tests.end_to_end import test_state as files
from tests.feed import test_clock_steps as clocks

OTHER_SCHEMA = files.test_a_state_that_can_not_be_used_is_told_and_left_untouched
TWO_PROCESSES = files.test_of_two_processes_one_counts_even_when_the_lock_file_is_removed
TRIED_BY = {
    "disk full": disks.test_a_full_disk_stops_the_counting_but_not_the_serving_until_there_is_room_again,
    "disk turned read-only": disks.test_a_disk_that_turns_read_only_stops_the_counting_but_not_the_serving,
    "file or its `-wal` removed while running": files.test_a_state_removed_while_the_exporter_runs_is_written_anew_and_nothing_is_lost,
    "its directory removed": files.test_a_removed_directory_is_told_and_made_again_nothing_is_lost,
    "another file moved into its place while running": files.test_a_file_moved_into_the_place_of_the_state_is_told_and_left_alone,
    "damaged page": files.test_a_damaged_page_stops_the_account_that_needs_it_and_no_other,
    "wrong owner, no rights": files.test_a_state_of_another_owner_is_told_and_left_untouched,
    "older schema": OTHER_SCHEMA,
    "newer schema": OTHER_SCHEMA,
    "two processes": TWO_PROCESSES,
    "`.lock` removed while running": TWO_PROCESSES,
    "this machine's clock steps by a day": clocks.test_a_clock_that_is_set_while_running_changes_no_count_and_stops_nothing,
}


def test_no_trouble_is_told_that_is_not_tried() -> None:
    page = (DOCS / "when-things-go-wrong.md").read_text()
    _, after = page.split("| | what you read | the counts |\n|---|---|---|\n")
    table = after.split("\n\n", 1)[0]
    assert [line.split("|")[1].strip() for line in table.splitlines()] == list(TRIED_BY)
