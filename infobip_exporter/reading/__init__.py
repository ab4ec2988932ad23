"""What to ask next, and what an answer proves to have been read."""
