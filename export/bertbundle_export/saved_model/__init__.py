"""Trace a source model and write it as a SavedModel."""
