"""The messages of the Open Inference Protocol, generated from _open_inference.proto by `make proto`."""
