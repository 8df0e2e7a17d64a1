"""
The conformance suite of the specification: black box, over HTTPS, one file for each clause.

    pytest --pyargs ibt.conformance
    pytest FOLDER --server-url URL --certificates DIR

FOLDER is where this file lies: pytest learns of the options only where it is given a path. The first line
starts sandboxes of its own. The second asks any server that has loaded the folder `world` afresh; DIR holds
`ca.pem` and `clients/USER.pem` (key and certificate) for each user of `world/users.csv`.
Tests marked `sandbox` need what only a sandbox gives (a frozen clock, its CA's key, its database) and are
left out there.

Each docstring quotes the clause and gives the number of our reading. The suite imports nothing else of ibt.
"""
