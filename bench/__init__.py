"""Measures what the exporter costs: `make bench`."""
