"""Shape calculators for sklearn."""
