"""The lab: a small network of hosts on one machine, and systems that build real trees over it, measured alike.

From the bottom up: ``groups`` (CPU quota, memory limit, and the counting of both), ``spaces`` (a host's namespaces),
``delay`` (a line's delay), ``network`` (hosts on a switch), ``leftovers`` (what killed runs left), ``workloads`` (what
is built), ``hosts`` (all of a host together), ``systems`` (what builds it), ``measure`` (one session), ``figures`` (the
results' file), ``report`` and ``plots`` (what is shown), ``presets`` (what the hosts are like), ``cli`` (the command).
"""
