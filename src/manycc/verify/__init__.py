"""Verification: is what nodes compiled what the compiler here writes?"""
