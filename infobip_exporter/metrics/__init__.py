"""How the numbers are shown to Prometheus."""
