"""One evaluation: metrics, the worst mistakes, a profile of texts and results, and how to show them."""
