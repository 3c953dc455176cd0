"""Fault injection: what becomes of a stack when instructions of a running component are wrong (NEaT §6.6)."""
