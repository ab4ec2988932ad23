#!/usr/bin/env python3
"""Infobip's message logs as exact Prometheus metrics: `python exporter.py --help`."""

import sys

from infobip_exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
