"""A new label is one line in the label table: the rest follows from it."""

from dataclasses import replace
from unittest.mock import patch

import pytest

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Choice
from infobip_exporter.model.labels import LABELS, Label
from simulation.run import Life, run_world
from simulation.world import draw

BULK = Label("bulk_id", ("bulkId",), sent=True, optional=True)
CHOICES = (Choice(("entity_id", "bulk_id"), ("bulk_id",)), Choice(("bulk_id", "status")))


@pytest.mark.parametrize("choices", [CHOICES[:1], CHOICES], ids=["one choice", "another after a restart"])
def test_a_label_that_is_added_to_the_table_is_counted_by(choices: tuple[Choice, ...]) -> None:
    with patch.dict(LABELS, {BULK.name: BULK}):
        world = replace(draw(3), choices=choices, kill_every=40.0)
        world = replace(
            world, config=replace(world.config, metrics=replace(world.config.metrics, max_label_values=1000))
        )
        life = Life(world, None)
        life.live()
        assert [problem for lived in life.feeds for problem in lived.differences()] == []
        ledger = life.feeds[0]._stored()
        for family in (catalog.SENT, catalog.MESSAGES, catalog.COST):
            assert any(series.label("bulk_id") for series in ledger.counters if series.family == family.name)
        assert any(series.label("bulk_id") for series in ledger.histograms)
        assert life.fate.kills > 0


def test_the_oracle_sees_a_label_that_is_read_from_another_place() -> None:
    world = replace(draw(3), choices=(Choice(("sender",)),))
    with patch("simulation.run.read_on_request", lambda *_: (replace(BULK, name="sender"),)):
        assert run_world(world).problems
