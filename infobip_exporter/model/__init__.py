"""The values that all layers share: no input, no output, no clock."""
