"""What the documentation says of metrics is what the exporter shows."""

import re
from pathlib import Path

import pytest

from infobip_exporter.metrics.catalog import FAMILIES, Family, labels_of
from tests.alerting.promtool import check_queries
from tests.alerting.servers import needs
from tests.docs.pages import DOCS, PAGES, blocks, name_of, rows, section

_NAME = re.compile(r"(?<![\w/.:-])infobip_(?!exporter(?:\.|/|\b(?!_)))[a-z_0-9]+(?![\w:])")
_NOT_METRICS = {"infobip_exporter", "infobip_sandbox"}


def documented(family: Family) -> list[str]:
    labels = ", ".join(f"`{label}`" for label in labels_of(family))
    return [f"`{family.name}`", family.type, labels, family.help.replace("__other__", "`__other__`")]


def test_the_table_lists_every_metric_as_the_catalogue_has_it() -> None:
    table = [row for row in rows(section(DOCS / "metrics.md", "## Table")) if row[0].startswith("`infobip_")]
    should_be = [documented(family) for family in FAMILIES]
    assert table == should_be, "\n".join(f"| {' | '.join(row)} |" for row in should_be)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_metric_named_is_there(page: Path) -> None:
    known = {family.name for family in FAMILIES}
    for family in FAMILIES:
        if family.type == "histogram":
            known |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    named = set(_NAME.findall(page.read_text())) - _NOT_METRICS
    assert named <= known


@needs("promtool")
def test_every_query_parses(tmp_path: Path) -> None:
    check_queries(
        (single for page in PAGES for query in blocks(page, "promql") for single in _singles(query)), tmp_path
    )
    assert len(blocks(DOCS / "queries.md", "promql")) == 5


def _singles(query: str) -> list[str]:
    """A block holds one query, or several of a line each, with a remark."""
    lines = query.strip().splitlines()
    return lines if all("  #" in line for line in lines) else [query]
