"""The data plane: the distribution specification without HTTP.

Nouns with their SQL: ``repositories``, ``blobs``, ``manifests``, ``tags``. Verbs: ``push``, ``pull``, ``uploads``,
``delete``, ``collect``, ``adopt``, ``export``.
"""
