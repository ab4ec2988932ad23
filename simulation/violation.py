"""What a run is stopped with when something that must hold does not."""


class Violated(Exception):
    """An invariant of the design does not hold. The text says which, where and when."""
