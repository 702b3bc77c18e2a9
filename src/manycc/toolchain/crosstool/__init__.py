"""A cross compiler made to match: from what a client's gcc says of itself to one that crosstool-NG has built.

``probe`` asks the compiler, ``versions`` knows what crosstool-NG offers, ``recipe`` writes its configuration and
names what will differ, ``check`` finds the lines that it dropped, ``build`` drives it, ``pipeline`` has a hosted
runner do the same. crosstool-NG is a program of its own, run as one; nothing of it is part of this package.
"""
