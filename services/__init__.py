"""The flow: six stages, their wiring and the command."""
