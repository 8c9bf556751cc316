"""Converters for pytorch, in files named as the framework names its own modules."""
