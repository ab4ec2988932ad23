"""The poll loop of one feed: one channel's log of one account."""
