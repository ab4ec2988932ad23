"""Infobip's message logs as exact Prometheus metrics."""

__version__ = "0.1.0"
