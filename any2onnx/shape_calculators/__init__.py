"""Shape calculators: what a source operator promises of its outputs, types → types, independent of the converters."""
