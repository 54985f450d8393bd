"""Relocation: what graph events tie together changes its partition, whole."""
