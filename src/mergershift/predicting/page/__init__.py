"""The page on a set of predictions: one self-contained HTML file beside the table."""
