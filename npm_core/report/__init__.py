"""The reports: tidy tables in, one self-contained HTML page out."""
