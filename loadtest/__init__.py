"""Simulated town, driver, stories and benchmarks: all speak Hearth's public protocol, as a gateway would."""
