"""Shape calculators for keras."""
