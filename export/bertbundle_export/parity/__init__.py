"""Proving that an exported format answers like the source model."""
