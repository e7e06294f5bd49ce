"""Files of any kind.

- `atomic`: files and folders that are complete or not there. `reading`: text, JSON and arrays, with one-line errors.
- `weights`: weights read safely and loaded strictly. `inert_pickle`: torch files read without running anything.
- `hashing`: keys and fingerprints. `cache`, `run_folder`: where caches and the files of a run lie.
"""
