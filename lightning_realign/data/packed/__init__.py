"""A data set packed into few files that are mapped into memory."""
