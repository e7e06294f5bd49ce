"""How the study runs: one command after another through doit, each in a folder of its own."""
