"""Model versions: bundles, scoring, training, comparison and roll-out."""
