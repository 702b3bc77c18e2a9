"""manycc: a distributed C and C++ compiler front end."""

__version__ = "0.1.0"
