"""What to ask next: pure rules over values."""
