"""What was measured, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value. `goal` is the most it may be, where there is a goal; `beside` says what it is compared with."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    beside: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "reached" if self.value <= self.goal else "MISSED"


def table(title: str, figures: Sequence[Figure]) -> str:
    """A Markdown table."""
    lines = [f"### {title}", "", "| what | measured | goal | |", "|---|--:|--:|---|"]
    for figure in figures:
        goal = f"{figure.goal:g} {figure.unit}" if figure.goal is not None else ""
        remark = ", ".join(word for word in (figure.verdict, figure.beside) if word)
        lines.append(f"| {figure.name} | {figure.value:,.4g} {figure.unit} | {goal} | {remark} |")
    return "\n".join(lines) + "\n"
