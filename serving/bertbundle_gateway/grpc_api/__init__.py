"""The text API over gRPC: bertbundle.text.v1.TextService."""
