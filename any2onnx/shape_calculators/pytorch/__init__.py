"""Shape calculators for pytorch."""
