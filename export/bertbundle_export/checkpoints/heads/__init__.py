"""Heads that transformers has no class for: functions that build a Keras model of BERT and the head's layers."""
