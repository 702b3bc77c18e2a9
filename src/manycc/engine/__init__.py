"""Remote execution engines as hosts: the client of the Remote Execution API v2.

``address`` reads what a user writes; all else needs the extra ``manycc[engine]`` and is imported by the agent only
when a job's host list names an engine.
"""
