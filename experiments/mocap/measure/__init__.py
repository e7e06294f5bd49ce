"""What the study measures beyond the product: its data splits, rules of meaning, copying, and the trajectory."""
