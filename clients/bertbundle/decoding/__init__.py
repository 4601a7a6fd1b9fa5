"""Decode output tensors to results: one decoder per task."""
