"""Where the counts are kept: a feed's durable state, changed one page at a time and whole or not at all."""
