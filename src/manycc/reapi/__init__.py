"""The Remote Execution and Remote Workers APIs: their messages, made by ``scripts/reapi_protos.py``.

Needs the extra ``manycc[engine]``: import nothing of this where no engine is configured.
"""
