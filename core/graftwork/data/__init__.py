"""Rows on their way from a source to batches: reading, splits, audit, fingerprint, sampling, loading."""
