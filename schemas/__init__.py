"""The words of the hub: pure models and functions, no I/O, no clock, no randomness."""
