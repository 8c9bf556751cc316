"""Mapping tables and the registry: one row per source operator. Importing this imports no framework."""
