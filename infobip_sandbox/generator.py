"""Making messages out of a seed: any chunk of time on its own, the same every time.

Each message takes the same number of draws whatever happens to it, so that an incident added later changes the
messages it hits and no other.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from infobip_sandbox import statuses
from infobip_sandbox.message import Defect, Message, Step
from infobip_sandbox.traffic import (
    NETWORKS,
    REJECTED_OUTCOME,
    UNDELIVERABLE_OUTCOME,
    Incident,
    Outcome,
    Platform,
    Tariff,
    Traffic,
)

_ID_BITS = 56
_INDEX_BITS = 20
_ID_MASK = (1 << _ID_BITS) - 1
_SCATTER = 0x9E3779B97F4A7D  # odd, so that multiplying by it modulo 2**56 can be undone
_GATHER = pow(_SCATTER, -1, 1 << _ID_BITS)
_BULK_BASE = 2 * 10**18
_EXTRA_INDEX = 1 << (_INDEX_BITS - 1)
"""Where the numbers of messages that an incident adds begin: clear of the ordinary ones of the chunk."""
_SLOW = 20
_QUANTILES = 4096
_DEFECTS: tuple[Defect, ...] = ("no_id", "no_sent_at", "no_status")
_CAMPAIGNS = ("", "", "", "summersale", "backtoschool")
_CONTENT_TYPES = ("TEXT", "TEXT", "TEXT", "IMAGE", "VIDEO")
_TEXTS = (
    "Your order {} is on its way.",
    "Your order {} is ready to be picked up.",
    "{} is your one-time code. Don't share it.",
    "Only today: 20 % off everything with the code SUN{}.",
    "Thank you for your message, your ticket is {}.",
    "Ваш заказ {} отправлен.",
    "Votre commande {} est arrivée 📦",
)


_Fate = tuple[Outcome, int]
"""How a message ends, and the time in milliseconds that this takes."""


class _Sending(NamedTuple):
    """One request of the account: when, by whom, and the messages it consists of."""

    at_ms: int
    platform: Platform
    bulk: int
    campaign: str


class Generator:
    """The messages of `traffic` for a `seed`, chunk by chunk of `chunk_ms`."""

    def __init__(self, traffic: Traffic, seed: int | str) -> None:
        self.traffic = traffic
        self.chunk_ms = traffic.chunk_ms
        self._seed = seed
        self._id_mask = Random(f"{seed}:ids").getrandbits(_ID_BITS)
        self._platform_weights = _running([platform.weight for platform in traffic.platforms])
        self._tariff_weights = _running([tariff.weight for tariff in traffic.tariffs])
        self._outcome_weights = _running([outcome.weight for outcome in traffic.outcomes])
        self._settle_ms = _lognormal_quantiles(traffic.settle_median_s * 1000, traffic.settle_sigma)

    def chunk(self, number: int, incidents: Sequence[Incident]) -> list[Message]:
        """The messages sent in [number, number + 1) x chunk_ms, in the order they were sent."""
        begin_ms = number * self.chunk_ms
        rng = Random(f"{self._seed}:{number}")
        expected = self.traffic.rate_at(begin_ms + self.chunk_ms // 2) * self.chunk_ms / 1000
        if self.traffic.burstiness > 0 and expected > 0:
            expected *= rng.gammavariate(1 / self.traffic.burstiness, self.traffic.burstiness)
        sendings = self._sendings(rng, number, _poisson(rng, expected))
        for dense in self.traffic.dense:
            if 0 <= dense.at_ms - begin_ms < self.chunk_ms:
                sendings += self._at_one_moment(rng, dense.at_ms, dense.messages)
        messages = self._messages(rng, number, 0, sendings, incidents)
        index = _EXTRA_INDEX
        for place, incident in enumerate(incidents):
            extra = self._extra(number, place, incident)
            messages += self._messages(
                Random(f"{self._seed}:{number}:{place}"), number, index, extra, incidents
            )
            index += len(extra)
        messages.sort(key=_sent)
        return messages

    def chunk_of_id(self, message_id: str) -> int | None:
        """The chunk that a message id of this generator lies in; None when it can't be one."""
        try:
            scattered = int(message_id[:14], 16)
        except ValueError:
            return None
        return self._gather(scattered)

    def chunk_of_bulk(self, bulk_id: str) -> int | None:
        try:
            return self._gather(int(bulk_id) - _BULK_BASE)
        except ValueError:
            return None

    def _gather(self, scattered: int) -> int | None:
        if not 0 <= scattered <= _ID_MASK:
            return None
        return ((scattered ^ self._id_mask) * _GATHER & _ID_MASK) >> _INDEX_BITS

    def _scatter(self, chunk: int, index: int) -> int:
        return ((chunk << _INDEX_BITS | index) * _SCATTER & _ID_MASK) ^ self._id_mask

    def _sendings(self, rng: Random, number: int, count: int) -> list[_Sending]:
        traffic = self.traffic
        begin_ms = number * self.chunk_ms
        last_ms = begin_ms + self.chunk_ms - 1
        tick_ms = traffic.tick_ms
        platforms = self._draw_platforms(rng, count)
        sendings: list[_Sending] = []
        while len(sendings) < count:
            first = len(sendings)
            at_ms = begin_ms + int(rng.random() * self.chunk_ms)
            size = 1
            if rng.random() < traffic.bulk_share:
                size = min(1 + int(rng.random() * traffic.bulk_size), count - first)
            bulk = self._scatter(number, first)
            campaign = _CAMPAIGNS[int(rng.random() * len(_CAMPAIGNS))]
            for place in range(size):
                sent_ms = min(at_ms + 7 * place, last_ms)
                sendings.append(
                    _Sending(max(begin_ms, sent_ms - sent_ms % tick_ms), platforms[first], bulk, campaign)
                )
        return sendings

    def _at_one_moment(self, rng: Random, at_ms: int, count: int) -> list[_Sending]:
        bulk = self._scatter(at_ms // self.chunk_ms, _EXTRA_INDEX - 1)
        return [_Sending(at_ms, platform, bulk, "") for platform in self._draw_platforms(rng, count)]

    def _extra(self, number: int, place: int, incident: Incident) -> list[_Sending]:
        begin_ms = number * self.chunk_ms
        if incident.extra_per_second <= 0 or begin_ms + self.chunk_ms <= incident.start_ms:
            return []
        rng = Random(f"{self._seed}:{number}:{place}:extra")
        mine = [p for p in self.traffic.platforms if incident.entity_id in (None, p.entity_id)]
        moments = (
            begin_ms + int(rng.random() * self.chunk_ms)
            for _ in range(_poisson(rng, incident.extra_per_second * self.chunk_ms / 1000))
        )
        bulk = self._scatter(number, _EXTRA_INDEX + place)
        return [
            _Sending(moment, mine[moment % len(mine)], bulk, "")
            for moment in moments
            if incident.active(moment)
        ]

    def _draw_platforms(self, rng: Random, count: int) -> list[Platform]:
        return rng.choices(self.traffic.platforms, cum_weights=self._platform_weights, k=count)

    def _messages(
        self, rng: Random, chunk: int, first: int, sendings: list[_Sending], incidents: Sequence[Incident]
    ) -> list[Message]:
        traffic = self.traffic
        count = len(sendings)
        begin_ms = chunk * self.chunk_ms
        # An incident is over or not begun for most chunks: ask that once for the chunk, not for each message.
        near = [i for i in incidents if i.start_ms < begin_ms + self.chunk_ms and not _is_over(i, begin_ms)]
        tariffs = rng.choices(traffic.tariffs, cum_weights=self._tariff_weights, k=count)
        outcomes = rng.choices(traffic.outcomes, cum_weights=self._outcome_weights, k=count)
        draw = rng.random
        made = []
        for place, (sending, tariff, outcome) in enumerate(zip(sendings, tariffs, outcomes, strict=True)):
            settle, hit, late, odd, size = draw(), draw(), draw(), draw(), draw()
            sent_ms = sending.at_ms
            fate = (outcome, self._settle_ms[int(settle * _QUANTILES)])
            for incident in near:
                if incident.active(sent_ms) and incident.entity_id in (None, sending.platform.entity_id):
                    fate = _struck(incident, hit, fate)
            scattered = self._scatter(chunk, first + place)
            tail = scattered * 0xD1342543DE82EF95BF58 & (1 << 80) - 1
            without_done, defect = self._oddities(draw())
            network = NETWORKS[scattered % len(NETWORKS)]
            made.append(
                Message(
                    f"{scattered:014x}-{tail >> 64:04x}-{tail & (1 << 64) - 1:016x}",
                    sent_ms,
                    sent_ms + self._ingestion_ms(late),
                    self._steps(sent_ms, fate, tariff, odd),
                    sending.platform.sender,
                    f"{network.prefix}{int(hit * 10**8):08d}"[:11],
                    sending.platform.entity_id,
                    sending.platform.application_id,
                    str(_BULK_BASE + sending.bulk),
                    sending.campaign,
                    _TEXTS[sent_ms % len(_TEXTS)].format(int(settle * 10**6)),
                    1 if size < 0.85 else 2 if size < 0.96 else 3,
                    defect,
                    not without_done,
                    content_type=_CONTENT_TYPES[sent_ms % len(_CONTENT_TYPES)],
                    mcc_mnc=network.mcc_mnc if traffic.networks_told else "",
                )
            )
        return made

    def _ingestion_ms(self, draw: float) -> int:
        if draw < self.traffic.late_share:
            return int(draw / self.traffic.late_share * self.traffic.late_max_ms)
        return int(draw * self.traffic.ingest_ms)

    def _oddities(self, draw: float) -> tuple[bool, Defect]:
        """Whether doneAt is missing; and what is wrong with the row."""
        bad = self.traffic.bad_share
        if draw < bad:
            return False, _DEFECTS[int(draw / bad * len(_DEFECTS))]
        return draw - bad < self.traffic.without_done_share, ""

    def _steps(self, sent_ms: int, fate: _Fate, tariff: Tariff, odd: float) -> tuple[Step, ...]:
        outcome, settle_ms = fate
        traffic = self.traffic
        price: Decimal | None = tariff.price
        currency = tariff.currency
        pending_price = price
        error: statuses.Error | None = outcome.error
        # One draw is spread over the rare peculiarities, each with a stretch of its own.
        if (odd := odd - traffic.without_price_share) < 0:
            price = pending_price = None
            currency = ""
        elif (odd := odd - traffic.without_error_share) < 0:
            error = None
        elif (odd := odd - traffic.price_change_share) < 0:
            pending_price = tariff.price * 2
        if outcome.timing == "at_once":
            return (Step(sent_ms, outcome.final[0], error, price, currency),)
        if outcome.timing == "expires":
            settle_ms = traffic.validities_ms[settle_ms % len(traffic.validities_ms)]
        stages = len(outcome.pending)
        pending_error = None if error is None else statuses.NO_ERROR
        steps = [
            Step(sent_ms + settle_ms * place // (2 * stages), status, pending_error, pending_price, currency)
            for place, status in enumerate(outcome.pending)
        ]
        steps += [
            Step(sent_ms + settle_ms * (1 + place), status, error, price, currency)
            for place, status in enumerate(outcome.final)
        ]
        if 0 <= odd < traffic.change_after_final_share and outcome.final[-1] is statuses.TO_HANDSET:
            later_ms = steps[-1].at_ms + 1000 + settle_ms
            steps.append(Step(later_ms, statuses.NOT_DELIVERED, statuses.ABSENT, price, currency))
        return tuple(steps)


def _struck(incident: Incident, hit: float, fate: _Fate) -> _Fate:
    """What an incident makes of a message's fate."""
    outcome, settle_ms = fate
    if hit >= incident.share:
        return fate
    if incident.kind == "slow":
        return outcome, settle_ms * _SLOW
    return (REJECTED_OUTCOME if incident.kind == "rejected" else UNDELIVERABLE_OUTCOME), settle_ms


def _is_over(incident: Incident, at_ms: int) -> bool:
    return not incident.every_ms and at_ms >= incident.start_ms + incident.length_ms


def _sent(message: Message) -> int:
    return message.sent_ms


def _running(weights: list[float]) -> list[float]:
    return list(accumulate(weights))


def _lognormal_quantiles(median_ms: float, sigma: float) -> list[int]:
    normal = NormalDist()
    if sigma == 0:
        return [max(1, int(median_ms))] * _QUANTILES
    return [
        max(1, int(median_ms * math.exp(sigma * normal.inv_cdf((place + 0.5) / _QUANTILES))))
        for place in range(_QUANTILES)
    ]


def _poisson(rng: Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, product, floor = 0, rng.random(), math.exp(-mean)
    while product > floor:
        count += 1
        product *= rng.random()
    return count
