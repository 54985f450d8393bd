"""Composes and runs Hearth: settings, the data directory, placement, the `hearth` command."""
