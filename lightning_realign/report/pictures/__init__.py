"""Motions drawn as film strips and animations."""
