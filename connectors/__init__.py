"""The partners' systems: one folder each. Connectors import only `schemas`."""
