"""Arithmetic on plans."""
