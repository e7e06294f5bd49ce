"""The headline study on real motion: does reward-guided sampling help, by judges that it never sees?"""
