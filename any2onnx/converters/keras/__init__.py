"""Converters for keras, in files named as the framework names its own modules."""
