"""Partners' systems as tests need them: each a fake or the real software, and the rows that are pushed to it."""
