"""Rehearsals: what a playbook's journeys do to one household, as its tests say, played by the real code."""
