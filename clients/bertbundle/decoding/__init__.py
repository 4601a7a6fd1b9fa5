"""Tensors to answers: one decoder per task."""
