"""Whole days of the exporter in virtual time, drawn from a seed: worlds, faults, crashes, and an oracle that knows.

The real planner, parsing, counting and SQLite ledger run against the simulated log of `infobip_sandbox`.
"""
