"""Converters for sklearn, in files named as the framework names its own modules."""
