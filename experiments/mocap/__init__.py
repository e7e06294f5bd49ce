"""The study on motion capture: does reward-guided sampling help, by judges that it never sees?"""
