"""What the records of a page mean for the totals."""
