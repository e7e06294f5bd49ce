"""The weights that come with the package: how they are trained, rounded and described."""
