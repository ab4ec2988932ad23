#!/usr/bin/env python3
"""Infobip's message logs as exact Prometheus metrics: `python exporter.py --help`."""

import sys

from infobip_exporter.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
