"""The distribution of settling times: learnt, fading, never without a chance."""

import json

import numpy as np
import pytest

from infobip_exporter.planning.settling import EDGES_S, HALF_LIFE, SettlingTimes

DAY_S = 86400.0


def test_before_any_observation_a_message_may_settle_at_any_age() -> None:
    ages = np.array([0.0, 1.0, 60.0, 3600.0, DAY_S, 2 * DAY_S])
    share, integral = SettlingTimes().at(ages)
    assert share[0] == 0
    assert np.all(np.diff(share) >= 0)
    assert np.all(np.diff(share[1:]) > 0)
    assert share[-1] < 1
    assert np.all(np.diff(integral) >= 0)


def test_observations_rule_as_soon_as_there_are_some() -> None:
    times = SettlingTimes().observed(np.full(1000, 60.0))
    assert times.quantile(0.5) == pytest.approx(60, rel=0.2)
    assert times.quantile(0.99) == pytest.approx(60, rel=0.2)


def test_the_chance_is_never_zero_after_all_observed_ones_have_settled() -> None:
    times = SettlingTimes().observed(np.full(100_000, 2.0))
    share, _ = times.at(np.array([DAY_S, DAY_S * 1.2]))
    assert share[1] > share[0]


def test_old_observations_fade() -> None:
    times = SettlingTimes().observed(np.full(HALF_LIFE, 2.0)).observed(np.full(2 * HALF_LIFE, 600.0))
    assert times.quantile(0.5) == pytest.approx(600, rel=0.2)


def test_the_integral_is_that_of_the_share() -> None:
    times = SettlingTimes().observed(np.random.default_rng(1).lognormal(4, 0.5, 5000))
    ages = np.linspace(0, 1000, 20_001)
    share, integral = times.at(ages)
    summed = np.concatenate(([0], np.cumsum((share[1:] + share[:-1]) / 2 * np.diff(ages))))
    assert np.allclose(integral, summed, atol=0.01)


def test_shares_at_the_edges_agree_with_quantiles() -> None:
    times = SettlingTimes().observed(np.random.default_rng(2).lognormal(4, 0.5, 5000))
    share, _ = times.at(EDGES_S[20:50])
    assert np.allclose([times.quantile(float(each)) for each in share], EDGES_S[20:50])


def test_it_survives_a_restart() -> None:
    times = SettlingTimes().observed(np.array([1.0, 50.0, 7000.0, -3.0, 1e9]))
    again = SettlingTimes.from_list(json.loads(json.dumps(times.to_list())))
    assert again.quantile(0.9) == pytest.approx(times.quantile(0.9))


def test_numbers_of_another_version_are_left() -> None:
    assert SettlingTimes.from_list([1.0, 2.0]).quantile(0.5) == SettlingTimes().quantile(0.5)
