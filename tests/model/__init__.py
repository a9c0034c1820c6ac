"""An exhaustive model of the protocol between workers.

The database, the workers, their calls and the messages between them are modelled: every step is one
of their transactions, answers, messages or faults (``steps``). What a socket does with a message is
the code itself (``sockets``), and so is the reconciliation (``replay``). ``search`` visits all states
that a scope can reach (``scopes``). No client may get an event that contradicts the promises
(``delivery``), and whenever nothing is on its way, memory and database must agree after a few
heartbeats (``quiet``). ``errors`` proves that it can fail.
"""
