"""The study's report: one page with its figures, its tables and the lineage of its results."""
