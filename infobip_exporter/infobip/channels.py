"""The table of channels, under the name by which the reading layers import it."""

from infobip_exporter.model.channels import LOG_KEEPS_MS, LOG_PATHS

__all__ = ["LOG_KEEPS_MS", "LOG_PATHS"]
