"""Studies: what was found out with the framework; nothing in the package imports them."""
