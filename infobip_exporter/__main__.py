"""`python -m infobip_exporter`, the same as `exporter.py`."""

import sys

from infobip_exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
