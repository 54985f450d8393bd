"""Composes and runs Hearth: settings, the data directory, reading files, the `hearth` command."""
