"""Files of any kind: atomic writing, hashes, safe readers."""
