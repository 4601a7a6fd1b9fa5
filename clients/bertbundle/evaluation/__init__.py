"""How good a served model is on a data file: metrics, confidence intervals, reports, and drift without labels."""
