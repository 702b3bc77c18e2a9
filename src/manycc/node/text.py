"""Texts of peers."""

from __future__ import annotations


def plain(text: str) -> str:
    """A peer's text, fit for a log: one line, printable, short."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])
