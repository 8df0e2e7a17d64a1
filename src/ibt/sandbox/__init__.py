"""
The first five minutes: a folder with certificates, a database and a world to try, and the service on it.

`serve_sandbox` makes the folder once and serves; `Unusable` is what its user can put right.
"""

from ibt.sandbox.sandbox import Options, Unusable, serve_sandbox

__all__ = ["Options", "Unusable", "serve_sandbox"]
