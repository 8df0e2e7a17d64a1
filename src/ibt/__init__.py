"""ISO New England's Internal Bilateral Transactions (IBT) web services, version 1.0 of the specification."""

__version__ = "0.1.0"

SPECIFICATION = "1.0"
