"""Reward guidance in two dimensions, where generator, reward and guided law are known in closed form."""
