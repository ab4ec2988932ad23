"""The scrape configurations in docs/integrations.md are well-formed, and do what the page promises of each."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerting.servers import accepted, needs
from tests.docs.pages import DOCS, REPOSITORY, blocks, rows, section

PAGE = DOCS / "integrations.md"


def yaml_under(heading: str) -> Any:
    code = section(PAGE, heading).partition("```yaml\n")[2].partition("```")[0]
    return yaml.safe_load(code)


COLLECTOR = yaml_under("## OpenTelemetry Collector")
SCRAPES = {
    "OpenTelemetry Collector": COLLECTOR["receivers"]["prometheus"]["config"],
    "vmagent": yaml_under("## vmagent"),
}
"""What is a Prometheus configuration."""


def test_each_program_has_its_configuration_and_says_whether_it_was_tried() -> None:
    programs = [program for program, *_ in rows(PAGE.read_text())[1:]]
    assert all(re.match(r"\d|not tried", tried) for _, tried, *_ in rows(PAGE.read_text())[1:])
    headings = [line[3:] for line in PAGE.read_text().splitlines() if line.startswith("## ")]
    assert headings[:-1] == programs
    assert len([code for name in ("yaml", "toml", "alloy") for code in blocks(PAGE, name)]) == len(programs)


@pytest.mark.parametrize("program", SCRAPES)
def test_feed_series_are_scraped_as_by_the_prometheus_of_this_repository(program: str) -> None:
    [scrape] = SCRAPES[program]["scrape_configs"]
    assert scrape.pop("scrape_interval") == "30s"
    assert [scrape] == yaml.safe_load((REPOSITORY / "prometheus/prometheus.yml").read_text())[
        "scrape_configs"
    ]


@needs("promtool")
@pytest.mark.parametrize("program", SCRAPES)
def test_promtool_accepts_what_is_a_prometheus_configuration(program: str, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(SCRAPES[program]))
    accepted("promtool", "check", "config", file)


@needs("vmagent")
def test_vmagent_accepts_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "scrape.yml"
    file.write_text(yaml.safe_dump(SCRAPES["vmagent"]))
    accepted("vmagent", "-dryRun", f"-promscrape.config={file}", "-remoteWrite.url=http://127.0.0.1/")


def test_the_collectors_pipeline_names_what_is_there() -> None:
    pipeline = COLLECTOR["service"]["pipelines"]["metrics"]
    assert pipeline["receivers"] == list(COLLECTOR["receivers"])
    assert pipeline["exporters"] == list(COLLECTOR["exporters"])
    assert "$" not in yaml.safe_dump(COLLECTOR)


def test_telegraf_gives_feed_series_the_constant_instance() -> None:
    [code] = blocks(PAGE, "toml")
    config = tomllib.loads(code)
    [scrape], [override] = config["inputs"]["prometheus"], config["processors"]["override"]
    assert (scrape["interval"], scrape["tags"], scrape["url_tag"]) == ("30s", {"job": "infobip"}, "instance")
    assert override == {"tagpass": {"account": ["*"]}, "tags": {"instance": "infobip"}}


def test_the_datadog_check_gives_every_series_the_constant_instance() -> None:
    [instance] = yaml_under("## Datadog Agent")["instances"]
    assert "instance:infobip" in instance["tags"]
    assert instance["min_collection_interval"] == 30
    assert not instance["tag_by_endpoint"]
