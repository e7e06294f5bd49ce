"""What a checkpoint says of itself, and models as files: entries, bundles, folders, the hub, conversion."""
