"""A feed's durable state."""
