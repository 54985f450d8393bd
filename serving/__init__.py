"""Answers: the edge, the wire mapping, the scorer, model bundles, roll-out and training."""
