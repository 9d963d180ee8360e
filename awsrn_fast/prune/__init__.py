"""Branches of the reconstruction that contribute little, measured and removed."""
