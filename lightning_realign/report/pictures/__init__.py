"""Motions as film strips and animations."""
