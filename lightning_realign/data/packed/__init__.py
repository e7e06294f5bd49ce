"""A data set packed into few files: `packed` writes and reads them, `mapped` maps them into memory."""
