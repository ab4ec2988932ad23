"""The program: `infobip-exporter`, `python -m infobip_exporter` and `exporter.py` all start here."""

import sys

from infobip_exporter.signals import SIGNALS


def main() -> int:
    """Run the command that the process's arguments name; the exit code."""
    # Before the imports: they take seconds on a slow machine, and SIGTERM may come meanwhile.
    SIGNALS.catch()
    from infobip_exporter import cli  # noqa: PLC0415

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
