"""The page that tells all there is to know of a model version: one HTML file, with its charts in it."""
