"""
The database: who may ask what of it, and how it changes.

SQLAlchemy Core over SQLite and PostgreSQL. This room knows `ibt.rules` and no other. Others open a
`Database`, take a connection from `reading()` or `updating()`, and hand it to the functions of `reads` and
`writes`, so that what belongs together is seen and done in one transaction.
"""

from ibt.store.database import Connections, Database, Unavailable, Unusable

__all__ = ["Connections", "Database", "Unavailable", "Unusable"]
