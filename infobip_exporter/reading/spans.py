"""Spans of sent time: half-open intervals of whole milliseconds, and sets of them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """`[since_ms, until_ms)`, by the API's clock. Empty where `until_ms` is not after `since_ms`."""

    since_ms: int
    until_ms: int

    @property
    def length_ms(self) -> int:
        return max(0, self.until_ms - self.since_ms)

    def __contains__(self, moment_ms: object) -> bool:
        return isinstance(moment_ms, int) and self.since_ms <= moment_ms < self.until_ms

    def meet(self, other: "Span") -> "Span":
        """What both have in common; empty where they have nothing."""
        return Span(max(self.since_ms, other.since_ms), min(self.until_ms, other.until_ms))


class SpanSet:
    """An immutable set of moments, kept as disjoint spans that do not touch, oldest first."""

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[Span] = []
        for since_ms, until_ms in sorted(spans):
            if until_ms <= since_ms:
                continue
            if merged and since_ms <= merged[-1].until_ms:
                merged[-1] = Span(merged[-1].since_ms, max(merged[-1].until_ms, until_ms))
            else:
                merged.append(Span(since_ms, until_ms))
        self.spans = tuple(merged)

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __len__(self) -> int:
        return len(self.spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpanSet) and other.spans == self.spans

    def __hash__(self) -> int:
        return hash(self.spans)

    def __repr__(self) -> str:
        return f"SpanSet({list(map(tuple, self.spans))})"

    def __contains__(self, moment_ms: object) -> bool:
        return any(moment_ms in span for span in self.spans)

    @property
    def total_ms(self) -> int:
        return sum(span.length_ms for span in self.spans)

    def add(self, span: Span) -> "SpanSet":
        return SpanSet((*self.spans, span))

    def remove(self, gone: Span) -> "SpanSet":
        if gone.length_ms == 0:
            return self
        kept: list[tuple[int, int]] = []
        for since_ms, until_ms in self.spans:
            kept.append((since_ms, min(until_ms, gone.since_ms)))
            kept.append((max(since_ms, gone.until_ms), until_ms))
        return SpanSet(kept)

    def without(self, others: "SpanSet") -> "SpanSet":
        """What is in none of the spans of `others`."""
        left = self
        for other in others:
            left = left.remove(other)
        return left

    def meet(self, window: Span) -> "SpanSet":
        return SpanSet(span.meet(window) for span in self.spans)

    def below(self, moment_ms: int) -> "SpanSet":
        """The part before `moment_ms`."""
        return SpanSet((span.since_ms, min(span.until_ms, moment_ms)) for span in self.spans)

    def above(self, moment_ms: int) -> "SpanSet":
        """The part from `moment_ms` on."""
        return SpanSet((max(span.since_ms, moment_ms), span.until_ms) for span in self.spans)
