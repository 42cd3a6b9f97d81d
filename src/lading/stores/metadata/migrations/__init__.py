"""How the tables came to be what they are: one file a change, in the order of their numbers, never edited afterwards.

A new index is made from ``schema/`` at once; these files bring an older one to the same (a test compares). Each says
what it does in the first line of its docstring, has ``LEAST``, the oldest schema whose programs can work on its result,
and ``upgrade``, which runs in one transaction.

**Expand, then contract.** Programs of the version before go on working while the tables change under them. So a
migration adds (a table, an index, a column that may be null or has a default) and keeps ``LEAST`` one behind itself.
What is to go is left alone by a first version and taken away by the migration of a later one, with ``LEAST`` raised to
the version that no longer needs it.
"""
