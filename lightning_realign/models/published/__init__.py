"""Networks of published generators, in the form of their checkpoints."""
